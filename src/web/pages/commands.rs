//! A command: its line in the lists, and its own page.

use askama::Template;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Command, CommandState};

use super::button::{Button, Does, Offer};
use super::lights::steps;
use super::log::{Done, done, next_buttons, verdict};
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, html, words};

/// A line in a list of commands.
#[derive(Template)]
#[template(path = "command_item.html")]
pub(super) struct Item {
    id: String,
    look: &'static str,
    word: &'static str,
    label: String,
    host: String,
    text: String,
    actor: String,
    when: words::Ago,
    took: String,
    log: Does,
    page: String,
}

impl askama::filters::HtmlSafe for Item {}

/// Id of a command's line.
pub(super) fn item_id(command: &Command) -> String {
    format!("command:{}", command.id)
}

/// Name of a command in headings and tabs.
pub(super) fn title(fleet: &Fleet<'_>, command: &Command) -> String {
    let label = fleet.label(command.op);
    command.host.as_ref().map_or_else(|| label.to_owned(), |host| format!("{host} · {label}"))
}

pub(super) fn item(fleet: &Fleet<'_>, command: &Command) -> Item {
    let (look, word) = words::ended(command);
    Item {
        id: item_id(command),
        look,
        word,
        label: fleet.label(command.op).to_owned(),
        host: command.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        text: text(command),
        actor: words::by(fleet, &command.actor),
        when: words::ago(command.created_at, fleet.now),
        took: took(command),
        log: Does::log(command.id, title(fleet, command)),
        page: format!("/commands/{}", command.id),
    }
}

/// One sentence about how it stands.
pub(super) fn text(command: &Command) -> String {
    match (&command.message, &command.progress) {
        // "Stopped stopped" says nothing more.
        (Some(message), _) if !message.is_empty() && !message.eq_ignore_ascii_case(words::ended(command).1) => {
            words::without_op(command.op, message).to_owned()
        }
        (_, Some(progress)) if !command.state.is_final() && !progress.text.is_empty() => progress.text.clone(),
        (_, Some(progress)) if !command.state.is_final() => progress.phase.clone(),
        _ => match command.exit_code {
            Some(code) if code != 0 => format!("Exit code {code}"),
            _ => String::new(),
        },
    }
}

fn took(command: &Command) -> String {
    match (command.started_at, command.finished_at) {
        (Some(from), Some(to)) => words::span(from, to),
        _ => String::new(),
    }
}

/// The head of a command's page; changes while it runs.
#[derive(Template)]
#[template(path = "command_head.html")]
pub(super) struct Head {
    look: &'static str,
    word: String,
    label: String,
    description: String,
    host: String,
    text: String,
    done: Option<Done>,
    buttons: Vec<Button>,
    facts: Vec<Fact>,
    created: words::Ago,
    /// What its state means and what to do next.
    meaning: String,
    /// Since when its host is away.
    waiting: Option<words::Ago>,
}

impl askama::filters::HtmlSafe for Head {}

/// Something that is known of a command.
struct Fact {
    name: String,
    text: String,
    /// Where it leads.
    link: Option<String>,
}

pub(super) fn head(fleet: &Fleet<'_>, command: &Command) -> Head {
    let (look, word) = verdict(command);
    let label = fleet.label(command.op).to_owned();
    let title = title(fleet, command);
    let mut buttons = steps(command, &title, "");
    buttons.extend(next_buttons(fleet, command));
    if let (CommandState::Success, Some(host)) = (command.state, &command.host)
        && let Some(entry) = fleet.op(command.op).filter(|entry| entry.retry)
        && let Some(of) = fleet.host(host)
        && let offer = Offer::of(of, &(fleet.refused)(of), command.op)
        && offer != Offer::Never
    {
        let does = Does::op(fleet, host.as_str(), command.op).again(&command.args).not(offer.why_not());
        buttons.push(Button::new(&format!("{} again", entry.label), "", does).icon("i-restart"));
    }
    let stage = command.stage.as_deref().filter(|_| look != "ok" && command.state.is_final());
    let stage = stage.and_then(words::stage).map(|(_, meaning)| meaning);
    let mut meaning = stage.or_else(|| words::meaning(command.state)).unwrap_or_default().to_owned();
    if command.stage.as_deref() == Some("activation") && look != "ok" && command.state.is_final() {
        let back = buttons.iter().any(|button| button.starts(Op::Rollback));
        meaning.push_str(if back { " Go back, or fix it and try again." } else { " Fix it and try again." });
    }
    let text = text(command);
    let run = command.run_id.map(|run| format!("/runs/{run}"));
    let mut facts = vec![Fact { name: "Started by".to_owned(), text: words::by(fleet, &command.actor), link: run }];
    let mut fact = |name: &str, text: Option<String>| {
        facts.extend(text.map(|text| Fact { name: name.to_owned(), text, link: None }));
    };
    fact("Exit code", command.exit_code.map(|code| code.to_string()));
    fact("Took", Some(took(command)).filter(|took| !took.is_empty()));
    // A sentence says it better, where there is one.
    fact("Reason", command.code.as_deref().filter(|_| text.is_empty()).map(words::named));
    fact("Forced", command.force.then(|| "yes".to_owned()));
    for (name, given) in words::arguments(fleet.op(command.op), &command.args) {
        fact(&name, Some(given));
    }
    fact("Log", Some(words::bytes(command.log_bytes)));
    Head {
        look,
        word,
        description: fleet.op(command.op).map(|entry| entry.description.clone()).unwrap_or_default(),
        host: command.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        text,
        done: done(command),
        buttons,
        facts,
        created: words::ago(command.created_at, fleet.now),
        meaning,
        waiting: command.waiting_since.map(|since| words::ago(since, fleet.now)),
        label,
    }
}

#[derive(Template)]
#[template(path = "command.html")]
struct Page {
    shell: Shell,
    head: Head,
    id: String,
    title: String,
}

/// The page `/commands/{id}`. The command may be older than those in the state.
pub fn command_page(fleet: &Fleet<'_>, command: &Command, session: Session<'_>) -> String {
    let title = title(fleet, command);
    html(&Page {
        shell: shell(fleet, &title, &PageKind::Command(command.id), session),
        head: head(fleet, command),
        id: command.id.to_string(),
        title,
    })
}
