//! What is new since the last look: the fleet's state and its events against what is remembered. Nothing is told from
//! a change alone, so nothing is missed while nobody looked, and nothing is told twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::api::{CommandState, Event, HostState, Level, Remote, Run, RunState};
use nixfleet_protocol::{CommandId, EventId, HostId, Op, RunId, Time};
use serde::Deserialize;

use super::{Kind, Memory, Notice};
use crate::fleet_state::FleetState;

/// How long after the daemon's start a host that is offline is not told to be gone: agents reconnect in that time.
pub const SETTLED: Duration = Duration::from_secs(90);
/// Runs whose last state is remembered; the state that everyone sees has fewer.
const RUNS: usize = 200;
/// Update pull requests that are known again: more do not wait beside each other.
const UPDATES: usize = 32;
/// The longest text of a notice, in characters.
const TEXT: usize = 600;
/// Hosts of a run that are named.
const NAMED: usize = 10;

/// A look at the fleet.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What everyone sees.
    pub state: &'a FleetState,
    /// All events behind the last one that was looked at, oldest first.
    pub events: &'a [Arc<Event>],
    /// The newest event there is, whether among these or not.
    pub newest: EventId,
}

/// Something new, and which hosts it is about, with their tags.
#[derive(Clone, Debug)]
pub struct News {
    /// In words.
    pub notice: Notice,
    /// About these; none: it is about no host.
    pub hosts: Vec<(HostId, Vec<String>)>,
}

/// What an event of a command says of it.
#[derive(Deserialize)]
struct Ended {
    command_id: CommandId,
    op: Op,
    state: CommandState,
}

/// Looks. The memory changes with it.
pub(super) fn look(memory: &mut Memory, sight: &Sight<'_>, now: Time) -> Vec<News> {
    // What lies behind us when we begin is no news, but for what people can still do something about.
    let first = memory.event.is_none();
    let mut news = Vec::new();
    if !first {
        news.extend(sight.events.iter().filter_map(|event| command(event, sight.state, now)));
    }
    memory.event = Some(sight.newest.max(memory.event.unwrap_or_default()));
    runs(memory, sight.state, first, now, &mut news);
    hosts(memory, sight.state, first, now, &mut news);
    remote(memory, &sight.state.remote, now, &mut news);
    news
}

/// Ends that nobody wished for. Stopped by a person is wished for, and refused is an answer.
const fn is_bad(state: CommandState) -> bool {
    match state {
        CommandState::Error
        | CommandState::Partial
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned => true,
        CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing
        | CommandState::Blocked
        | CommandState::Success
        | CommandState::Killed
        | CommandState::Cancelled
        | CommandState::Skipped => false,
    }
}

fn command(event: &Event, state: &FleetState, now: Time) -> Option<News> {
    if event.action != "command_finished" {
        return None;
    }
    let Ok(ended) = Ended::deserialize(&event.details) else { return unread(event, state, now) };
    if !is_bad(ended.state) {
        return None;
    }
    let on = event.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
    let word = match ended.state {
        CommandState::Error => "failed",
        CommandState::Orphaned => "is lost",
        CommandState::Timeout => "gave no answer in time",
        CommandState::Partial
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing
        | CommandState::Blocked
        | CommandState::Success
        | CommandState::Killed
        | CommandState::Cancelled
        | CommandState::Skipped => "did not reach its goal",
    };
    let notice = Notice {
        kind: Kind::CommandFailed,
        level: event.level,
        host: event.host.clone(),
        subject: format!("{}{on}", ended.op),
        title: format!("{}{on} {word}", ended.op),
        text: cut(&format!("{}. Started by {}.", event.message.trim_end_matches('.'), event.actor)),
        path: format!("/commands/{}", ended.command_id),
        at: now,
    };
    let hosts = event.host.iter().map(|host| tagged(host, state)).collect();
    Some(News { notice, hosts })
}

/// An event that says of no command how it ended, as another version may have written it: what is bad is told all the
/// same, by its level and in its own words.
fn unread(event: &Event, state: &FleetState, now: Time) -> Option<News> {
    let bad = match event.level {
        Level::Warn | Level::Error => true,
        Level::Info | Level::Success => false,
    };
    let notice = || Notice {
        kind: Kind::CommandFailed,
        level: event.level,
        host: event.host.clone(),
        subject: event.host.as_ref().map_or_else(String::new, HostId::to_string),
        title: cut(&event.message),
        text: format!("Started by {}.", event.actor),
        path: "/events".to_owned(),
        at: now,
    };
    let hosts = || event.host.iter().map(|host| tagged(host, state)).collect();
    bad.then(|| News { notice: notice(), hosts: hosts() })
}

fn tagged(host: &HostId, state: &FleetState) -> (HostId, Vec<String>) {
    (host.clone(), state.hosts.get(host).map(|view| view.host.tags.clone()).unwrap_or_default())
}

fn runs(memory: &mut Memory, state: &FleetState, first: bool, now: Time, news: &mut Vec<News>) {
    for run in state.runs.values() {
        let before = memory.runs.insert(run.id, run.state);
        // One that halted, went on and halted again was running in between, or has got further.
        let same = before == Some(run.state);
        let told = match run.state {
            RunState::Running => false,
            RunState::Halted => !same,
            RunState::Complete | RunState::Partial | RunState::Failed | RunState::Cancelled => !same && !first,
        };
        if told {
            let hosts = run.hosts.keys().map(|host| tagged(host, state)).collect();
            news.push(News { notice: run_notice(run, now), hosts });
        }
    }
    while memory.runs.len() > RUNS
        && let Some(oldest) = oldest_that_is_over(&memory.runs)
    {
        memory.runs.remove(&oldest);
    }
}

fn oldest_that_is_over(runs: &BTreeMap<RunId, RunState>) -> Option<RunId> {
    let over = |state: &RunState| !matches!(state, RunState::Running | RunState::Halted);
    runs.iter().find(|(_, state)| over(state)).map(|(id, _)| *id)
}

fn run_notice(run: &Run, now: Time) -> Notice {
    let all = run.hosts.len();
    let passed = |stages: &Vec<CommandState>| stages.iter().all(|state| *state == CommandState::Success);
    let good = run.hosts.values().filter(|stages| passed(stages)).count();
    let failed = run.hosts.iter().filter(|(_, stages)| stages.iter().any(|state| is_bad(*state)));
    let failed: Vec<&str> = failed.map(|(host, _)| host.as_str()).collect();
    let name = &run.pipeline;
    let (kind, level, title) = match run.state {
        RunState::Halted => (Kind::RunHalted, Level::Warn, format!("{name} halted and waits for a decision")),
        RunState::Complete => (Kind::RunFinished, Level::Success, format!("{name} is complete on {}", hosts_of(all))),
        RunState::Partial => {
            (Kind::RunFinished, Level::Warn, format!("{name} came through on {good} of {}", hosts_of(all)))
        }
        RunState::Failed => {
            (Kind::RunFinished, Level::Error, format!("{name} came through on none of {}", hosts_of(all)))
        }
        RunState::Cancelled => (Kind::RunFinished, Level::Info, format!("{name} was cancelled")),
        RunState::Running => (Kind::RunFinished, Level::Info, format!("{name} goes on")),
    };
    let mut sentences = vec![run.message.clone()];
    if !failed.is_empty() {
        sentences.push(format!("Not good on {}.", super::words::names(&failed, NAMED)));
    }
    sentences.push(format!("Started by {}.", run.actor));
    sentences.retain(|sentence| !sentence.is_empty());
    let text = sentences.join(" ");
    let path = format!("/runs/{}", run.id);
    Notice { kind, level, host: None, subject: name.clone(), title, text: cut(&text), path, at: now }
}

fn hosts_of(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

fn hosts(memory: &mut Memory, state: &FleetState, first: bool, now: Time, news: &mut Vec<News>) {
    memory.gone.retain(|host, _| state.hosts.contains_key(host));
    // A start that is yet to come is one by a clock that was ahead.
    let started = state.server.started_at;
    let settled = started > now || now.since(started) >= SETTLED;
    for view in state.hosts.values() {
        let host = &view.host;
        let notice = match (host.state, memory.gone.get(&host.id)) {
            (HostState::Offline, None) if first => {
                memory.gone.insert(host.id.clone(), false);
                continue;
            }
            (HostState::Offline, None) if settled => {
                memory.gone.insert(host.id.clone(), true);
                let heard = host
                    .last_seen
                    .map_or(String::new(), |at| format!("It was last heard {}.", crate::compartments::moment(at)));
                let text = match &host.command {
                    Some(command) => format!("{} was running there. {heard}", command.op),
                    None => heard,
                };
                host_notice(Kind::HostGone, Level::Warn, &host.id, "is gone", &text, now)
            }
            (HostState::Online, Some(told)) => {
                let told = *told;
                memory.gone.remove(&host.id);
                if !told {
                    continue;
                }
                host_notice(Kind::HostBack, Level::Success, &host.id, "is back", "", now)
            }
            (HostState::Online | HostState::Stale | HostState::Offline | HostState::Never, _) => continue,
        };
        news.push(News { notice, hosts: vec![(host.id.clone(), host.tags.clone())] });
    }
}

fn host_notice(kind: Kind, level: Level, host: &HostId, word: &str, text: &str, now: Time) -> Notice {
    Notice {
        kind,
        level,
        host: Some(host.clone()),
        subject: host.to_string(),
        title: format!("{host} {word}"),
        text: text.trim().to_owned(),
        path: format!("/hosts/{host}"),
        at: now,
    }
}

fn remote(memory: &mut Memory, remote: &Remote, now: Time, news: &mut Vec<News>) {
    let mut tell = |kind, level, subject: String, title: String, text: String| {
        let notice =
            Notice { kind, level, host: None, subject, title, text: cut(&text), path: "/".to_owned(), at: now };
        news.push(News { notice, hosts: Vec::new() });
    };
    let source = || remote.source.clone().unwrap_or_default();
    match (&remote.error, memory.unreadable) {
        (Some(why), None) => {
            memory.unreadable = Some(now);
            let title = "The configuration repository can't be read".to_owned();
            tell(Kind::RemoteUnreadable, Level::Error, source(), title, why.clone());
        }
        // Only a good answer proves it: a daemon that has just started has not asked yet.
        (None, Some(since)) if remote.read_at.is_some_and(|read| read >= since) => {
            memory.unreadable = None;
            let title = "The configuration repository can be read again".to_owned();
            tell(Kind::RemoteReadable, Level::Success, source(), title, String::new());
        }
        (None, Some(_)) if remote.source.is_none() => memory.unreadable = None,
        (Some(_), Some(_)) | (None, None | Some(_)) => {}
    }
    if let Some(pr) = remote.pull_request.as_ref().filter(|pr| !memory.updates.contains(&pr.number)) {
        memory.updates.push_back(pr.number);
        while memory.updates.len() > UPDATES {
            memory.updates.pop_front();
        }
        let (subject, title) = (format!("#{}", pr.number), format!("An update waits: {}", cut(&pr.title)));
        tell(Kind::UpdateWaiting, Level::Info, subject, title, format!("Pull request #{}: {}", pr.number, pr.url));
    }
}

fn cut(text: &str) -> String {
    nixfleet_protocol::text::plain_cut(text, TEXT)
}
