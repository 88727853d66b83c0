//! What can be clicked. The script knows no op: all that a click sends or shows stands in data attributes, which
//! are made here and nowhere else. The list of them is the contract with `script/act.js`.

use askama::Template;
use nixfleet_protocol::api::{Action, ActionKind, Host, PipelineEntry};
use nixfleet_protocol::{CommandId, HostId, Op};
use serde_json::json;

use super::{Fleet, forms, html, rollout};

/// What a click does, as data attributes. Rendered inside a start tag.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "does.html")]
pub(super) struct Does {
    /// Send it here.
    post: String,
    /// By this method, where it is not POST.
    method: &'static str,
    /// This JSON.
    body: String,
    /// With what this dialog's form asks for.
    form: String,
    /// What stands in the form at first, as the parameters of an address.
    fill: String,
    /// After this sentence was confirmed.
    confirm: String,
    /// What the button that confirms says.
    yes: String,
    /// With a code from the authenticator.
    totp: bool,
    /// Open the log of the command that is answered.
    opens: bool,
    /// Open the log of this command.
    log: String,
    /// Go there.
    go: String,
    /// Say this.
    help: String,
    /// Heading of the dialog or the log's tab.
    title: String,
    /// Open the card with the sentence, and these offers in it.
    card: String,
    /// The host that the card is about.
    host: String,
    /// It can't be done now, and why.
    pub(super) not: String,
    /// The sentence for hover and focus.
    pub(super) tip: String,
}

impl askama::filters::HtmlSafe for Does {}

impl Does {
    /// The same on what is no button: it is found by where it leads.
    #[must_use]
    pub(super) fn at(mut self, page: String) -> Self {
        self.go = page;
        self
    }

    /// Go to a page.
    pub(super) fn go(url: String) -> Self {
        Self { go: url, ..Self::default() }
    }

    /// Show a log.
    pub(super) fn log(id: CommandId, title: String) -> Self {
        Self { log: id.to_string(), title, ..Self::default() }
    }

    /// POST something that makes no command.
    pub(super) fn post(url: String, title: String) -> Self {
        Self { post: url, body: "{}".to_owned(), title, ..Self::default() }
    }

    /// The same, with this to send.
    #[must_use]
    pub(super) fn body(self, body: &serde_json::Value) -> Self {
        Self { body: body.to_string(), ..self }
    }

    /// The same, after this sentence was confirmed.
    #[must_use]
    pub(super) fn confirm(self, sentence: String, yes: &str) -> Self {
        Self { confirm: sentence, yes: yes.to_owned(), ..self }
    }

    /// Start a pipeline on these hosts; how, is asked first. `hosts` is JSON: of the menu, a name that is filled in.
    pub(super) fn pipeline(entry: &PipelineEntry, hosts: &str, sentence: String, of: &str) -> Self {
        let title = if of.is_empty() { entry.label.clone() } else { format!("{of} · {}", entry.label) };
        Self {
            form: rollout::ID.to_owned(),
            body: format!("{{\"hosts\":{hosts}}}"),
            totp: entry.totp,
            ..Self::post(format!("/api/v1/pipelines/{}/runs", entry.name), title).confirm(sentence, &entry.label)
        }
    }

    /// Start an op on a host, confirmed and with a code where the registry says so.
    pub(super) fn op(fleet: &Fleet<'_>, host: &str, op: Op) -> Self {
        let label = fleet.label(op);
        let entry = fleet.op(op);
        Self {
            post: format!("/api/v1/hosts/{host}/ops/{op}"),
            body: "{}".to_owned(),
            form: entry.filter(|entry| !entry.args.is_empty()).map(forms::id).unwrap_or_default(),
            confirm: entry
                .and_then(|entry| entry.confirm.as_ref())
                .map_or(String::new(), |it| it.replace("{host}", host)),
            yes: label.to_owned(),
            totp: entry.is_some_and(|entry| entry.totp),
            opens: entry.is_none_or(|entry| entry.runs_on != "dashboard"),
            title: format!("{host} · {label}"),
            ..Self::default()
        }
    }

    /// The same, asked in the form with what it was given before.
    #[must_use]
    pub(super) fn again(self, args: &serde_json::Value) -> Self {
        self.fill(forms::filled(args))
    }

    /// The same, with what stands in its form at first.
    #[must_use]
    pub(super) fn fill(self, fill: String) -> Self {
        Self { fill, ..self }
    }

    /// The same, with what is said of how long it takes.
    #[must_use]
    pub(super) fn took(self, took: Option<String>) -> Self {
        let said = took.filter(|_| !self.confirm.is_empty());
        Self { confirm: said.map_or(self.confirm.clone(), |took| format!("{} {took}", self.confirm)), ..self }
    }

    /// End something that is named by its address, after a sentence was confirmed.
    pub(super) fn delete(url: String, title: String, confirm: String, yes: &str) -> Self {
        Self {
            post: url,
            method: "DELETE",
            body: "{}".to_owned(),
            confirm,
            yes: yes.to_owned(),
            title,
            ..Self::default()
        }
    }

    /// Stop, extend, ignore or give up a command.
    pub(super) fn command(id: &str, verb: &str, title: String) -> Self {
        let body = if verb == "extend" { json!({"minutes": EXTEND_MINUTES}) } else { json!({}) };
        Self {
            post: format!("/api/v1/commands/{id}/{verb}"),
            body: body.to_string(),
            confirm: if verb == "give-up" {
                "The command is shown as orphaned and the host is free for the next one. What the host does is not changed."
                    .to_owned()
            } else {
                String::new()
            },
            yes: if verb == "give-up" { "Give up".to_owned() } else { String::new() },
            title,
            ..Self::default()
        }
    }

    /// What a light, or a button beside it, offers.
    pub(super) fn action(fleet: &Fleet<'_>, host: &HostId, action: &Action, message: &str) -> Self {
        let title = format!("{host} · {}", action.label);
        let details = || Self::go(format!("/hosts/{host}"));
        match (action.kind, action.op, &action.pipeline, action.command_id) {
            (ActionKind::Op, Some(op), _, _) => {
                let does = Self { yes: action.label.clone(), ..Self::op(fleet, host.as_str(), op) };
                match &action.args {
                    Some(args) => does.with(&json!(args), false),
                    None => does,
                }
            }
            (ActionKind::Pipeline, _, Some(pipeline), _) => {
                let mut body = json!({"hosts": [host]});
                if let Some(args) = &action.args {
                    body["options"] = json!({ "args": args });
                }
                let does = Self::post(format!("/api/v1/pipelines/{pipeline}/runs"), title).body(&body);
                // What merges changes the target of all hosts: that is asked first.
                match fleet.pipeline(pipeline).filter(|entry| entry.ops.contains(&Op::MergePr)) {
                    Some(entry) => does.confirm(format!("{} On {host} alone.", entry.description), &action.label),
                    None => does,
                }
            }
            (ActionKind::Log, _, _, Some(id)) => Self::log(id, log_title(fleet, host, id)),
            (ActionKind::Stop, _, _, Some(id)) => Self::command(&id.to_string(), "stop", title),
            (ActionKind::Help, ..) => Self { help: message.to_owned(), title, ..Self::default() },
            (ActionKind::Details | ActionKind::Op | ActionKind::Pipeline | ActionKind::Log | ActionKind::Stop, ..) => {
                details()
            }
        }
    }

    /// A card with a sentence and what is offered.
    pub(super) fn card(host: &HostId, title: String, message: &str, offers: Vec<Button>) -> Self {
        let card = html(&Card { offers });
        Self { card, host: host.to_string(), help: message.to_owned(), title, ..Self::default() }
    }

    /// The same, not asked again: what was typed says that it is meant.
    #[must_use]
    pub(super) fn sure(self) -> Self {
        Self { confirm: String::new(), yes: String::new(), ..self }
    }

    /// The same with a sentence for hover and focus.
    #[must_use]
    pub(super) fn tip(self, tip: String) -> Self {
        Self { tip, ..self }
    }

    /// The same op with these arguments, and with force.
    #[must_use]
    pub(super) fn with(self, args: &serde_json::Value, force: bool) -> Self {
        let mut body = json!({});
        if args.as_object().is_some_and(|args| !args.is_empty()) {
            body["args"] = args.clone();
        }
        if force {
            body["force"] = json!(true);
        }
        Self { body: body.to_string(), ..self }
    }

    /// The same, not offered now.
    #[must_use]
    pub(super) fn not(self, why: Option<String>) -> Self {
        Self { not: why.unwrap_or_default(), ..self }
    }
}

/// How long "Wait" waits, in minutes.
const EXTEND_MINUTES: u32 = 10;

fn log_title(fleet: &Fleet<'_>, host: &HostId, id: CommandId) -> String {
    fleet.command(id).map_or_else(|| host.to_string(), |command| format!("{host} · {}", fleet.label(command.op)))
}

/// A button.
#[derive(Clone, Debug, Template)]
#[template(path = "button.html")]
pub(super) struct Button {
    /// What it says.
    pub(super) label: String,
    /// Further words for screen readers, where the label alone does not say to what.
    pub(super) of: String,
    /// Its icon in the sprite, or nothing.
    pub(super) icon: &'static str,
    /// How it looks: `quick`, `main`, `small` …
    pub(super) look: &'static str,
    /// What it does.
    pub(super) does: Does,
}

impl askama::filters::HtmlSafe for Button {}

impl Button {
    /// Whether it starts this op, now.
    pub(super) fn starts(&self, op: Op) -> bool {
        self.does.not.is_empty() && self.does.post.ends_with(&format!("/ops/{op}"))
    }

    pub(super) fn new(label: &str, look: &'static str, does: Does) -> Self {
        Self { label: label.to_owned(), of: String::new(), icon: "", look, does }
    }

    #[must_use]
    pub(super) fn icon(self, icon: &'static str) -> Self {
        Self { icon, ..self }
    }

    #[must_use]
    pub(super) fn of(self, of: &str) -> Self {
        Self { of: of.to_owned(), ..self }
    }
}

/// What a card offers.
#[derive(Template)]
#[template(path = "light_card.html")]
struct Card {
    offers: Vec<Button>,
}

/// Icon of an op in the sprite.
pub(super) fn op_icon(op: Op) -> &'static str {
    match op {
        Op::Pull => "i-pull",
        Op::Switch => "i-switch",
        Op::ForceRebuild => "i-force",
        Op::Test => "i-test",
        Op::Rollback | Op::RevertPr => "i-back",
        Op::Restart => "i-restart",
        Op::Reboot | Op::Wake => "i-power",
        Op::RefreshGit => "i-branch",
        Op::RefreshLock => "i-lock",
        Op::RefreshSystem => "i-system",
        Op::CheckVersion => "i-about",
        Op::Plan => "i-differs",
        Op::Journal => "i-log",
        Op::BumpFlake | Op::MergePr => "i-up",
        Op::Gc => "i-broom",
        Op::Remove => "i-bin",
        Op::Exec => "i-exec",
        Op::SetColor => "i-color",
        Op::SetTags => "i-tag",
    }
}

/// Whether an op can be had on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It would start now.
    Now,
    /// Not now, and why.
    Not(String),
    /// Not at all: it is nothing for this host, so nothing is said of it.
    Never,
}

impl Offer {
    pub(super) fn of(host: &Host, refused: &[(Op, String)], op: Op) -> Self {
        if host.offers.contains(&op) {
            return Self::Now;
        }
        let why = refused.iter().find(|(other, _)| *other == op);
        why.map_or(Self::Never, |(_, why)| Self::Not(why.clone()))
    }

    /// Why not, where there is something to say.
    pub(super) fn why_not(self) -> Option<String> {
        match self {
            Self::Not(why) => Some(why),
            Self::Now | Self::Never => None,
        }
    }
}

/// The ops of the menu, in groups.
pub(super) const MENU: [&[Op]; 6] = [
    &[Op::Pull, Op::Switch, Op::Test],
    &[Op::Plan, Op::Rollback, Op::ForceRebuild, Op::BumpFlake],
    &[Op::Journal, Op::Exec],
    &[Op::RefreshGit, Op::RefreshLock, Op::RefreshSystem, Op::CheckVersion],
    &[Op::Restart, Op::Reboot, Op::Wake, Op::Gc],
    &[Op::SetColor, Op::SetTags, Op::Remove],
];

/// The ops that have a button of their own in each row.
pub(in crate::web) const QUICK: [Op; 3] = [Op::Pull, Op::Switch, Op::Test];
