//! What happened on a host: its commands day by day, the list of them, what was deployed when, and the last tests.
//!
//! The state that everyone sees has a few commands of the whole fleet; these come from the store. So this region is
//! made when it is asked for: with the page, and again when a delta says that it is another now ([`super::PAST`]).

mod day;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use nixfleet_protocol::api::{Command, CommandState, Host};
use nixfleet_protocol::{Commit, Op, Time};
use serde_json::Value;

use super::super::button::{Button, Does, Offer, op_icon};
use super::super::{Fleet, commands, html, words};
use super::Stored;
use super::facts::{commit_link, subject};

/// How many commands the list has at once.
const LISTED: usize = 25;
/// How many deployments are told where the host lists no generations.
const DEPLOYED: usize = 10;
/// The clocks of host and dashboard differ by so much at most, where a generation is matched with its command.
const CLOCKS: Duration = Duration::from_mins(1);

#[derive(Template)]
#[template(path = "host_past.html")]
struct Past {
    src: String,
    name: String,
    /// The list begins before a command.
    before: bool,
    days: Vec<day::Day>,
    items: Vec<commands::Item>,
    older: String,
    rollback: String,
    generations: Vec<Generation>,
    tests: Option<Tests>,
}

/// Something that was deployed.
struct Generation {
    number: Option<u64>,
    commit: String,
    link: String,
    text: String,
    when: Option<words::Ago>,
    by: String,
    current: bool,
    log: Option<Does>,
}

/// The last run of the tests.
struct Tests {
    look: &'static str,
    text: String,
    when: words::Ago,
    log: Button,
    left_out: u64,
    each: Vec<Test>,
}

struct Test {
    ok: bool,
    name: String,
    took: String,
    code: Option<i64>,
}

pub(in super::super) fn past(fleet: &Fleet<'_>, host: &Host, stored: &Stored<'_>) -> String {
    let name = host.id.as_str();
    let before = stored.before.map(|before| format!("&before={before}")).unwrap_or_default();
    let older = stored.commands.get(LISTED - 1).filter(|_| stored.commands.len() > LISTED);
    html(&Past {
        src: format!("/hosts/{name}?part=past{before}"),
        name: name.to_owned(),
        before: stored.before.is_some(),
        days: if stored.before.is_some() { Vec::new() } else { day::days(fleet, stored.commands) },
        items: stored.commands.iter().take(LISTED).map(|command| commands::item(fleet, command)).collect(),
        older: older.map(|last| format!("/hosts/{name}?before={}", last.id)).unwrap_or_default(),
        rollback: rollback(fleet, host),
        generations: generations(fleet, host, stored.commands),
        tests: stored.commands.iter().find_map(|command| tests(fleet, command)),
    })
}

/// Whether a command brings another system when it succeeds.
fn deploys(op: Op) -> bool {
    matches!(op, Op::Switch | Op::ForceRebuild | Op::Rollback)
}

fn generations(fleet: &Fleet<'_>, host: &Host, commands: &[Arc<Command>]) -> Vec<Generation> {
    let ran = || commands.iter().filter(|command| deploys(command.op) && command.state == CommandState::Success);
    let by = |command: &Arc<Command>| words::by(fleet, &command.actor);
    let log = |command: &Arc<Command>| Does::log(command.id, commands::title(fleet, command));
    let told = |commit: &Commit| (commit.short().to_owned(), commit_link(fleet, commit), subject(fleet, commit));
    if !host.generations.is_empty() {
        let row = |it: &nixfleet_protocol::agent::Generation| {
            let made = it.at.and_then(|at| {
                ran().find(|command| {
                    command.started_at.is_some_and(|from| from <= at.plus(CLOCKS))
                        && command.finished_at.is_some_and(|to| at <= to.plus(CLOCKS))
                })
            });
            let (commit, link, text) = it.commit.as_ref().map(told).unwrap_or_default();
            Generation {
                number: Some(it.number),
                commit,
                link,
                text,
                when: it.at.map(|at| words::ago(at, fleet.now)),
                by: made.map(by).unwrap_or_default(),
                current: it.current,
                log: made.map(log),
            }
        };
        return host.generations.iter().map(row).collect();
    }
    let row = |(at, command): (usize, &Arc<Command>)| {
        // What was deployed is what the agent says first.
        let message = command.message.as_deref().unwrap_or_default();
        let commit = message.split_whitespace().next().and_then(|word| word.parse::<Commit>().ok());
        let whole = host.deployed.as_ref().map(|deployed| &deployed.commit);
        let current = at == 0 && commit.as_ref().zip(whole).is_some_and(|(one, whole)| one.short() == whole.short());
        let known = if current { whole } else { commit.as_ref() };
        let (commit, link, text) = known.map_or_else(|| (String::new(), String::new(), message.to_owned()), told);
        Generation {
            number: None,
            commit,
            link,
            text: if text.is_empty() { fleet.label(command.op).to_owned() } else { text },
            when: command.finished_at.map(|at| words::ago(at, fleet.now)),
            by: by(command),
            current,
            log: Some(log(command)),
        }
    };
    ran().take(DEPLOYED).enumerate().map(row).collect()
}

#[derive(Template)]
#[template(
    source = "<span id=\"host-rollback\">{% if let Some(button) = button.as_ref() %}{{ button }}{% endif %}</span>",
    ext = "html"
)]
struct Rollback {
    button: Option<Button>,
}

/// The way back, where there is one now.
pub(in super::super) fn rollback(fleet: &Fleet<'_>, host: &Host) -> String {
    let offered = Offer::of(host, &(fleet.refused)(host), Op::Rollback) == Offer::Now;
    let does = || Does::op(fleet, host.id.as_str(), Op::Rollback);
    html(&Rollback {
        button: offered.then(|| Button::new(fleet.label(Op::Rollback), "small", does()).icon(op_icon(Op::Rollback))),
    })
}

/// The results of a test run, one by one; none: it is none, or not over, or of an agent that tells none.
fn tests(fleet: &Fleet<'_>, command: &Command) -> Option<Tests> {
    if command.op != Op::Test || !command.state.is_final() {
        return None;
    }
    let told = command.details.get("tests")?.as_array()?;
    let number = |test: &Value, name: &str| test.get(name).and_then(Value::as_u64);
    let mut each: Vec<Test> = told
        .iter()
        .map(|test| Test {
            ok: test.get("ok") == Some(&Value::Bool(true)),
            name: test.get("name").and_then(Value::as_str).unwrap_or("?").to_owned(),
            took: number(test, "duration_ms").map(length).unwrap_or_default(),
            code: test.get("exit_code").and_then(Value::as_i64),
        })
        .collect();
    // What failed is what one looks for.
    each.sort_by_key(|test| test.ok);
    let total = command.details.get("total").and_then(Value::as_u64).unwrap_or(each.len() as u64);
    let passed = command.details.get("passed").and_then(Value::as_u64).unwrap_or_default();
    let title = commands::title(fleet, command);
    Some(Tests {
        look: words::command(command.state).0,
        text: format!("{passed} of {total} passed"),
        when: words::ago(command.finished_at.unwrap_or(command.created_at), fleet.now),
        log: Button::new("Log", "small", Does::log(command.id, title)).icon("i-log"),
        left_out: total.saturating_sub(told.len() as u64),
        each,
    })
}

/// A short length of time.
fn length(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => words::span(Time::from_millis(0), Time::from_millis(0).plus(Duration::from_millis(millis))),
    }
}

/// The commands of a host among those that everyone sees: what the store has at least.
#[cfg(test)]
pub(in super::super) fn of_state(fleet: &Fleet<'_>, host: &nixfleet_protocol::HostId) -> Vec<Arc<Command>> {
    fleet.state.commands.values().rev().filter(|it| it.host.as_ref() == Some(host)).cloned().collect()
}

#[cfg(test)]
mod tests_of_lengths {
    use super::*;

    #[test]
    fn lengths_read_well() {
        for (millis, text) in [(7, "7 ms"), (1_250, "1.2 s"), (61_000, "1 min 1 s")] {
            assert_eq!(length(millis), text);
        }
    }
}
