//! An event in words: what it says, who did it, and what its details are called.

use nixfleet_protocol::api::{CommandState, Event, RunState};
use nixfleet_protocol::{CommandId, Op, RunId};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Fleet, words};

/// A detail of an event.
pub(super) struct Detail {
    pub(super) name: String,
    pub(super) text: String,
    /// Where it leads; empty: nowhere.
    pub(super) link: String,
}

/// What it says, with the op by its label; op and host are named once.
pub(in super::super) fn told(fleet: &Fleet<'_>, event: &Event) -> String {
    let op = event.details.get("op").and_then(|op| Op::deserialize(op).ok());
    let rest = op.and_then(|op| Some((op, event.message.strip_prefix(op.as_str())?)));
    let Some((op, rest)) = rest.filter(|(_, rest)| rest.starts_with(' ')) else {
        // The host stands beside it.
        let host = event.host.as_ref().and_then(|host| event.message.strip_prefix(host.as_str())?.strip_prefix(' '));
        return host.map_or_else(|| event.message.clone(), words::sentence);
    };
    // "Switch failed: switch ended with code 1".
    let rest = rest.replacen(&format!(": {op} ended with code"), " with code", 1);
    format!("{}{rest}", fleet.label(op))
}

/// Whoever did it, as people call it.
pub(super) fn by(fleet: &Fleet<'_>, event: &Event) -> String {
    words::by(fleet, &event.actor)
}

/// The command that it tells of. Only what is an id becomes a link.
pub(super) fn command(event: &Event) -> Option<CommandId> {
    ["command_id", "command"].into_iter().find_map(|name| event.details.get(name)?.as_str()?.parse().ok())
}

/// What is known beside the sentence, each by its name. What the line says already is not said again.
pub(super) fn details(fleet: &Fleet<'_>, event: &Event) -> Vec<Detail> {
    let command = command(event).map(|id| id.to_string());
    let op = event.details.get("op").and_then(|op| Op::deserialize(op).ok());
    let all = event.details.as_object().into_iter().flatten();
    all.filter(|(_, value)| !value.is_null() && **value != Value::Bool(false))
        .filter(|(_, value)| command.is_none() || value.as_str() != command.as_deref())
        .flat_map(|(name, value)| detail(fleet, op, name, value))
        .collect()
}

fn detail(fleet: &Fleet<'_>, op: Option<Op>, name: &str, value: &Value) -> Vec<Detail> {
    let say = |name: &str, text: String| vec![Detail { name: name.to_owned(), text, link: String::new() }];
    match (name, value.as_str()) {
        ("op", Some(_)) if op.is_some() => Vec::new(),
        ("run_id", Some(id)) if id.parse::<RunId>().is_ok() => vec![Detail {
            name: "Run".to_owned(),
            text: words::by(fleet, &format!("pipeline:{id}")),
            link: format!("/runs/{id}"),
        }],
        ("pipeline", Some(id)) => {
            let label = fleet.pipeline(id).map_or(id, |pipeline| pipeline.label.as_str());
            say("Pipeline", label.to_owned())
        }
        ("state", Some(state)) => {
            let of_command = CommandState::deserialize(value).ok().map(|state| words::command(state).1);
            let word = of_command.or_else(|| RunState::deserialize(value).ok().map(|state| words::run(state).1));
            say("State", word.map_or_else(|| state.to_owned(), str::to_owned))
        }
        ("url", Some(url)) => vec![Detail {
            name: "Link".to_owned(),
            text: url.to_owned(),
            link: words::link(url).unwrap_or_default().to_owned(),
        }],
        ("args", None) => {
            let given = words::arguments(op.and_then(|op| fleet.op(op)), value);
            given.into_iter().map(|(name, text)| Detail { name, text, link: String::new() }).collect()
        }
        _ => say(&words::named(name), words::value(value)),
    }
}
