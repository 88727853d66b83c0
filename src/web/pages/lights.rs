//! The five lights, and the sentence of a row: what matters most about a host, in a few words.

use askama::Template;
use nixfleet_protocol::api::{Action, ActionKind, Command, CommandState, Host, HostState, Light, LightStatus};
use nixfleet_protocol::{HostId, Op, Time};

use super::Fleet;
use super::button::{Button, Does, op_icon};
use super::row::{Meter, meters};
use super::words::{self, Told};

/// One light.
#[derive(Template)]
#[template(path = "light.html")]
pub(super) struct LightView {
    name: &'static str,
    letter: &'static str,
    status: &'static str,
    /// The status in words.
    word: &'static str,
    now: Time,
    pub(super) message: String,
    action: String,
    as_of: &'static str,
    does: Does,
    /// What its own action does, without a card around it.
    direct: Does,
    /// What else is offered; shown on the host's page.
    pub(super) also: Vec<Button>,
    /// It shows the host's page.
    details: bool,
    pub(super) button: Option<Button>,
}

impl askama::filters::HtmlSafe for LightView {}

/// Names and letters, in the order of `Lights::each`.
pub(super) const NAMES: [(&str, &str); 5] =
    [("Agent", "A"), ("Git", "G"), ("Lock", "L"), ("System", "S"), ("Tests", "T")];

pub(super) fn lights(fleet: &Fleet<'_>, host: &Host) -> Vec<LightView> {
    let as_of = if host.state == HostState::Offline { "When last seen: " } else { "" };
    NAMES
        .into_iter()
        .zip(host.lights.each())
        .map(|((name, letter), (_, light))| {
            let direct = Does::action(fleet, &host.id, &light.action, &light.message);
            let does = click(fleet, host, name, light);
            LightView {
                name,
                letter,
                status: words::status(light.status),
                word: words::status_word(light.status),
                now: fleet.now,
                message: light.message.clone(),
                action: light.action.label.clone(),
                as_of,
                also: light
                    .also
                    .iter()
                    .map(|action| {
                        Button::new(&action.label, "small", Does::action(fleet, &host.id, action, &light.message))
                    })
                    .collect(),
                details: light.action.kind == ActionKind::Details,
                button: Some(Button::new(&light.action.label, "small", direct.clone()).of(name)),
                does: does.tip(format!("{as_of}{}", light.message)),
                direct,
            }
        })
        .collect()
}

/// What to do about a remote that can't be read.
const HOW_TO_FIX: &str = " Check the repository's address, the network, and the key or token of the dashboard. It asks again \
                          by itself, and this light turns when it is answered.";

/// What a click on a light in the table does. Yellow is done at once: pull, switch, test. Everything else opens a
/// card with the sentence and all that is offered: a red light has more than one way on, a running command is looked
/// at or stopped, and a green light tells.
fn click(fleet: &Fleet<'_>, host: &Host, name: &str, light: &Light) -> Does {
    let starts = matches!(light.action.kind, ActionKind::Op | ActionKind::Pipeline);
    let results = light.action.kind == ActionKind::Log && light.also.is_empty();
    if (starts && light.status == LightStatus::Outdated) || (results && light.status == LightStatus::Ok) {
        return Does::action(fleet, &host.id, &light.action, &light.message);
    }
    let mut message = light.message.clone();
    let mut offers: Vec<Button> = std::iter::once(&light.action)
        .chain(&light.also)
        .filter(|action| !matches!(action.kind, ActionKind::Details | ActionKind::Help))
        .map(|action| {
            let does = Does::action(fleet, &host.id, action, &light.message);
            Button::new(&action.label, "", does).icon(action_icon(action))
        })
        .collect();
    match (name, light.status, light.action.kind) {
        ("Git" | "Lock", LightStatus::Error, ActionKind::Help) => message.push_str(HOW_TO_FIX),
        // What waits stands in the header, with its link.
        ("Lock", LightStatus::Outdated, ActionKind::Details | ActionKind::Help) => {
            if light.action.kind == ActionKind::Details {
                message.push_str(" It can't be merged from here yet: merge it where it waits.");
            }
            offers.push(Button::new("Look at the update", "", Does::go("#target".to_owned())).icon("i-up"));
        }
        ("Git", LightStatus::Ok, _) => {
            let commit = host.generation.as_ref();
            let link = commit.and_then(|commit| words::commit_link(&fleet.state.remote, commit));
            offers.extend(link.map(|link| Button::new("See the commit", "", Does::go(link)).icon("i-branch")));
        }
        _ => {}
    }
    Does::card(&host.id, format!("{} · {name}", host.id), &message, offers)
}

fn action_icon(action: &Action) -> &'static str {
    match (action.kind, action.op) {
        (ActionKind::Op, Some(op)) => op_icon(op),
        (ActionKind::Log, _) => "i-log",
        (ActionKind::Stop, _) => "i-stop",
        (ActionKind::Pipeline, _) => "i-run",
        (ActionKind::Op | ActionKind::Details | ActionKind::Help, _) => "i-look",
    }
}

impl LightView {
    /// On the host's own page, where the details are.
    pub(super) fn at_home(mut self) -> Self {
        let tip = self.does.tip;
        self.does = std::mem::take(&mut self.direct).tip(tip);
        if self.details {
            self.does = Does::default().tip(self.does.tip);
            self.button = None;
            self.action.clear();
        }
        self
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The sentence, with how long ago it was in the place of a moment.
    pub(super) fn told(&self) -> Told {
        words::told(&self.message, self.now)
    }

    pub(super) fn word(&self) -> &'static str {
        self.word
    }

    pub(super) fn status(&self) -> &'static str {
        self.status
    }
}

/// What matters most about a host: its running command, or the sentence of the light that asks for something.
#[derive(Template)]
#[template(path = "now.html")]
pub(super) struct Now {
    look: &'static str,
    about: String,
    text: String,
    command: Option<Running>,
    signs: Vec<Sign>,
}

impl askama::filters::HtmlSafe for Now {}

/// What else is to be known about a host, beside its sentence.
struct Sign {
    words: String,
    /// For where there is no room for the words.
    icon: &'static str,
    short: String,
    /// The figure stands beside it where the table has a column for the load.
    load: bool,
}

impl Sign {
    fn new(words: String, icon: &'static str, short: String) -> Self {
        Self { words, icon, short, load: false }
    }
}

/// A command that is not over.
#[derive(Template)]
#[template(path = "running.html")]
pub(super) struct Running {
    look: &'static str,
    label: String,
    word: &'static str,
    text: String,
    part: Option<u8>,
    since: words::Ago,
    log: Does,
    buttons: Vec<Button>,
}

impl askama::filters::HtmlSafe for Running {}

impl Now {
    /// On the host's own page, where what is wrong and the load have their places.
    pub(super) fn at_home(self) -> Self {
        Self { signs: Vec::new(), ..self }
    }
}

pub(super) fn now(fleet: &Fleet<'_>, host: &Host) -> Now {
    let say = |look, about: &str, text: &str| Now {
        look,
        about: about.to_owned(),
        text: text.to_owned(),
        command: None,
        signs: signs(host),
    };
    if let Some(why) = &host.broken {
        say("error", "", &format!("Its part of the dashboard keeps failing: {why}"))
    } else if let Some(command) = &host.command {
        Now { command: Some(running(fleet, &host.id, command)), ..say("working", "", "") }
    } else if host.state == HostState::Never {
        say("unknown", "", "Waits for its agent to connect for the first time.")
    } else if let Some((name, status, message)) = asking(host) {
        say(words::status(status), name, message)
    } else {
        say("ok", "", "Current")
    }
}

/// The light that asks for something: red before yellow before grey, and what comes first in a deployment first.
fn asking(host: &Host) -> Option<(&'static str, LightStatus, &str)> {
    let [agent, git, lock, system, tests] = host.lights.each();
    [LightStatus::Error, LightStatus::Outdated, LightStatus::Unknown].into_iter().find_map(|wanted| {
        let order = if wanted == LightStatus::Error {
            [(system, "System"), (tests, "Tests"), (git, "Git"), (lock, "Lock"), (agent, "Agent")]
        } else {
            [(git, "Git"), (lock, "Lock"), (system, "System"), (tests, "Tests"), (agent, "Agent")]
        };
        let found = order.into_iter().find(|((_, light), _)| light.status == wanted);
        found.map(|((_, light), name)| (name, wanted, light.message.as_str()))
    })
}

/// The op that the row's sentence asks for; its quick button stands out.
pub(super) fn next_op(host: &Host) -> Option<Op> {
    let (name, ..) = asking(host)?;
    let (_, light) = host.lights.each().into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    std::iter::once(&light.action)
        .chain(&light.also)
        .find(|action| action.kind == ActionKind::Op)
        .and_then(|action| action.op)
        .filter(|op| host.offers.contains(op))
}

fn signs(host: &Host) -> Vec<Sign> {
    let mut signs = Vec::new();
    match host.failed_units.len() {
        0 => {}
        1 => signs.push(Sign::new("1 failed unit".to_owned(), "i-unit", "1".to_owned())),
        n => signs.push(Sign::new(format!("{n} failed units"), "i-unit", n.to_string())),
    }
    if host.reboot_required == Some(true) {
        signs.push(Sign::new("Reboot needed".to_owned(), "i-power", String::new()));
    }
    let high = meters(&host.metrics.unwrap_or_default()).into_iter().filter(Meter::high);
    let load = |meter: Meter| Sign {
        load: true,
        ..Sign::new(format!("{} high", meter.name), "i-warn", meter.name.to_owned())
    };
    signs.extend(high.map(load));
    signs
}

pub(super) fn running(fleet: &Fleet<'_>, host: &HostId, command: &Command) -> Running {
    let (look, word) = words::command(command.state);
    let label = fleet.label(command.op).to_owned();
    let title = format!("{host} · {label}");
    let progress = command.progress.as_ref();
    let text = match progress {
        Some(progress) if !progress.text.is_empty() => progress.text.clone(),
        Some(progress) => progress.phase.clone(),
        None => command.message.clone().unwrap_or_default(),
    };
    Running {
        look,
        word,
        text,
        part: progress.and_then(|progress| part(progress.done?, progress.expected?)),
        since: words::ago(command.started_at.unwrap_or(command.created_at), fleet.now),
        log: Does::log(command.id, title.clone()),
        buttons: steps(command, &title, &format!("{label} on {host}")),
        label,
    }
}

/// What can be done about a command that is not over.
pub(super) fn steps(command: &Command, title: &str, of: &str) -> Vec<Button> {
    let id = command.id.to_string();
    let button =
        |label: &str, verb: &str| Button::new(label, "small", Does::command(&id, verb, title.to_owned())).of(of);
    match command.state {
        CommandState::TimeoutPending => {
            vec![button("Wait", "extend"), button("Stop", "stop").icon("i-stop"), button("Ignore", "ignore")]
        }
        CommandState::AwaitingReconnect => vec![button("Give up", "give-up")],
        CommandState::Executing | CommandState::RunningWarning => vec![button("Stop", "stop").icon("i-stop")],
        CommandState::Pending
        | CommandState::Validating
        | CommandState::Killing
        | CommandState::Blocked
        | CommandState::Success
        | CommandState::Error
        | CommandState::Partial
        | CommandState::Killed
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned
        | CommandState::Cancelled
        | CommandState::Skipped => Vec::new(),
    }
}

/// Percent done, as a whole number.
pub(super) fn part(done: u64, expected: u64) -> Option<u8> {
    let percent = u128::from(done).checked_mul(100)?.checked_div(u128::from(expected))?;
    u8::try_from(percent.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::agent::Metrics;

    use super::*;
    use crate::web::pages::sample;

    #[test]
    fn what_is_wrong_with_a_host_stands_beside_its_sentence_whatever_columns_there_are() {
        let state = sample::state();
        let mut host = Host::clone(&state.hosts[&"hsb0".parse().unwrap()].host);
        let words = |host: &Host| signs(host).into_iter().map(|sign| sign.words).collect::<Vec<_>>().join(", ");
        host.metrics = Some(Metrics { cpu: Some(79.0), ram: Some(80.0), swap: Some(93.0), load: None });
        assert_eq!(words(&host), "RAM high, Swap high");
        host.failed_units = vec!["nginx.service".to_owned(), "borgbackup.service".to_owned()];
        host.reboot_required = Some(true);
        assert_eq!(words(&host), "2 failed units, Reboot needed, RAM high, Swap high");
        assert!(signs(&host).iter().all(|sign| sign.load == sign.words.ends_with("high")));
    }
}
