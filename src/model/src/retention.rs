//! What is kept, for how long, and when the store is worth compacting. Decides only: the janitor asks, one command
//! and one event after the other, and the store removes.
//!
//! ```text
//! hosts, tokens            for ever
//! events                   7 days
//! runs                     30 days after their end; what is not over, and the newest 20, for ever
//! commands and their logs  30 days after their end, but never
//!                            - what is not over,
//!                            - what a host's record names (its lights link to it),
//!                            - a host's newest good switch, newest failed one, newest test, newest pull,
//!                            - the newest 50: the page shows them
//! ```
//!
//! A host's lights themselves are in its record. The commands behind them are kept too, so that "switch failed 40 days
//! ago" still leads to the output that says why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{CommandId, HostId, Op, Time};

use crate::command::Command;
use crate::event::NewEvent;
use crate::fleet_state::RECENT_COMMANDS;
use crate::host::HostRecord;
use crate::pipeline::RunRecord;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Commands, runs and their logs, from their end on (`NIXFLEET_CMD_RETENTION_DAYS`).
    pub commands: Duration,
    /// Events (`NIXFLEET_LOG_RETENTION_DAYS`).
    pub events: Duration,
}

impl Default for Retention {
    /// 30 and 7 days.
    fn default() -> Self {
        Self { commands: Duration::from_hours(30 * 24), events: Duration::from_hours(7 * 24) }
    }
}

/// As much of a command as retention looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Its id.
    pub id: CommandId,
    /// Its host.
    pub host: Option<HostId>,
    /// Its op.
    pub op: Op,
    /// Its state.
    pub state: CommandState,
    /// When it ended; when it was made, where nobody noted an end.
    pub at: Time,
    /// Bytes of its log.
    pub log_bytes: u64,
}

impl From<&Command> for Sketch {
    fn from(command: &Command) -> Self {
        Self {
            id: command.id,
            host: command.host.clone(),
            op: command.op,
            state: command.state,
            at: command.finished_at.unwrap_or(command.created_at),
            log_bytes: command.log_bytes,
        }
    }
}

/// What a light may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    GoodSwitch,
    FailedSwitch,
    Test,
    Pull,
}

/// What a command that ran may be to a host's lights.
fn ground(op: Op, state: CommandState) -> Option<Ground> {
    let ran = match state {
        CommandState::Success
        | CommandState::Error
        | CommandState::Partial
        | CommandState::Killed
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned => true,
        // Refused, never begun, or not over.
        CommandState::Blocked
        | CommandState::Cancelled
        | CommandState::Skipped
        | CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing => false,
    };
    let ground = if matches!(op, Op::Switch | Op::ForceRebuild | Op::Rollback) {
        let good = state == CommandState::Success;
        Some(if good { Ground::GoodSwitch } else { Ground::FailedSwitch })
    } else if op == Op::Test {
        Some(Ground::Test)
    } else if op == Op::Pull {
        Some(Ground::Pull)
    } else {
        None
    };
    ground.filter(|_| ran)
}

/// Goes over all commands, from the newest to the oldest, and says of each whether it stays.
#[derive(Debug)]
pub struct Sieve {
    now: Time,
    retention: Retention,
    hosts: BTreeMap<HostId, BTreeSet<Ground>>,
    named: BTreeSet<CommandId>,
    seen: usize,
}

impl Sieve {
    /// Before the first command. `hosts` are all that there are.
    pub fn new<'a>(now: Time, retention: Retention, hosts: impl IntoIterator<Item = &'a HostRecord>) -> Self {
        let mut sieve = Self { now, retention, hosts: BTreeMap::new(), named: BTreeSet::new(), seen: 0 };
        for host in hosts {
            let history = &host.history;
            sieve.named.extend(host.open);
            sieve.named.extend(history.last_switch.as_ref().map(|last| last.command));
            sieve.named.extend(history.last_test.as_ref().map(|last| last.command));
            sieve.named.extend(host.facts.running.iter().copied());
            sieve.hosts.insert(host.id.clone(), BTreeSet::new());
        }
        sieve
    }

    /// Whether this command goes. To be asked once for each, newest first.
    pub fn goes(&mut self, command: &Sketch) -> bool {
        self.seen += 1;
        let newest = match (&command.host, ground(command.op, command.state)) {
            // The commands of a host that was removed only age.
            (Some(host), Some(ground)) => self.hosts.get_mut(host).is_some_and(|grounds| grounds.insert(ground)),
            _ => false,
        };
        let stays = newest
            || !command.state.is_final()
            || self.named.contains(&command.id)
            || self.seen <= RECENT_COMMANDS
            || self.now.since(command.at) <= self.retention.commands;
        !stays
    }
}

/// Whether an event goes.
pub fn event_goes(event: &NewEvent, now: Time, retention: Retention) -> bool {
    now.since(event.time) > retention.events
}

/// Whether a run goes: with its commands, from its end on. One that waits for a person is not over.
pub fn run_goes(run: &RunRecord, now: Time, retention: Retention) -> bool {
    run.finished_at.is_some_and(|at| now.since(at) > retention.commands)
}

/// Below this a store is not worth compacting, whatever is in it.
pub const COMPACT_FLOOR: u64 = 64 * 1024 * 1024;
/// How many times the live data a store may take.
pub const COMPACT_FACTOR: u64 = 4;

/// Whether a store that takes `size` bytes for `live` bytes of keys and values is worth compacting. `after_last` is
/// what it took right after it was compacted before: where even a fresh copy takes much, it must have doubled.
pub fn is_worth_compacting(size: u64, live: u64, after_last: Option<u64>, floor: u64) -> bool {
    size > floor
        && size > live.saturating_mul(COMPACT_FACTOR)
        && after_last.is_none_or(|after| size > after.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::api::{Category, Level};
    use proptest::prelude::*;

    use super::*;
    use crate::host::{SwitchRun, TestRun};

    const DAY: u64 = 86_400_000;

    fn id(number: u128) -> CommandId {
        format!("00000000-0000-0000-0000-{number:012x}").parse().unwrap()
    }

    fn days_ago(days: u64) -> Time {
        now().minus(Duration::from_millis(days * DAY))
    }

    fn now() -> Time {
        Time::from_millis(1_800_000_000_000)
    }

    fn sketch(number: u128, host: &str, op: Op, state: CommandState, days: u64) -> Sketch {
        Sketch { id: id(number), host: Some(host.parse().unwrap()), op, state, at: days_ago(days), log_bytes: 0 }
    }

    fn host(name: &str) -> HostRecord {
        HostRecord::new(name.parse().unwrap(), Time::from_millis(0))
    }

    /// Which go, behind 50 young ones that the page shows.
    fn gone(hosts: &[HostRecord], commands: &[Sketch]) -> Vec<u128> {
        let mut sieve = Sieve::new(now(), Retention::default(), hosts);
        for number in 0..RECENT_COMMANDS as u128 {
            assert!(!sieve.goes(&sketch(1000 + number, "other", Op::Gc, CommandState::Success, 90)));
        }
        commands.iter().filter(|command| sieve.goes(command)).map(|command| command.id.uuid().as_u128()).collect()
    }

    #[test]
    fn what_is_old_goes_and_what_is_young_stays() {
        use CommandState as S;
        let commands = [
            sketch(9, "a", Op::Gc, S::Success, 29),
            sketch(8, "a", Op::Gc, S::Success, 30),
            sketch(7, "a", Op::Gc, S::Error, 31),
            sketch(6, "a", Op::Gc, S::Blocked, 300),
        ];
        assert_eq!(gone(&[host("a")], &commands), [7, 6]);
    }

    #[test]
    fn what_is_not_over_stays_for_ever() {
        use CommandState as S;
        let open = [
            S::Pending,
            S::Validating,
            S::Executing,
            S::RunningWarning,
            S::TimeoutPending,
            S::AwaitingReconnect,
            S::Killing,
        ];
        for state in open {
            assert_eq!(gone(&[], &[sketch(1, "a", Op::Switch, state, 3000)]), Vec::<u128>::new(), "{state:?}");
        }
    }

    #[test]
    fn the_newest_of_each_ground_of_a_light_stays_and_the_one_before_goes() {
        use CommandState as S;
        let commands = [
            sketch(20, "a", Op::Switch, S::Blocked, 40),
            sketch(19, "a", Op::Rollback, S::Success, 41),
            sketch(18, "a", Op::Switch, S::Success, 42),
            sketch(17, "a", Op::Switch, S::Error, 43),
            sketch(16, "a", Op::ForceRebuild, S::Timeout, 44),
            sketch(15, "a", Op::Test, S::Error, 45),
            sketch(14, "a", Op::Test, S::Success, 46),
            sketch(13, "a", Op::Pull, S::Success, 47),
            sketch(12, "a", Op::Pull, S::Success, 48),
            sketch(11, "b", Op::Switch, S::Success, 49),
        ];
        assert_eq!(gone(&[host("a"), host("b")], &commands), [20, 18, 16, 14, 12]);
    }

    #[test]
    fn what_a_record_names_stays() {
        let mut record = host("a");
        record.history.last_switch = Some(SwitchRun {
            command: id(3),
            op: Op::Switch,
            ok: true,
            commit: None,
            stage: None,
            at: days_ago(50),
            rolled_back: None,
        });
        record.history.last_test = Some(TestRun {
            command: id(2),
            ok: true,
            passed: 1,
            total: 1,
            failed: vec![],
            commit: None,
            system_path: None,
            at: days_ago(50),
        });
        record.facts.running = vec![id(1)];
        let commands: Vec<_> =
            (1..=5).rev().map(|number| sketch(number, "a", Op::Switch, CommandState::Success, 50)).collect();
        assert_eq!(gone(&[record], &commands), [4], "5 is the newest good switch");
    }

    #[test]
    fn a_removed_hosts_commands_only_age() {
        let commands = [
            sketch(2, "gone", Op::Switch, CommandState::Success, 10),
            sketch(1, "gone", Op::Switch, CommandState::Success, 40),
        ];
        assert_eq!(gone(&[host("a")], &commands), [1]);
    }

    #[test]
    fn events_go_after_their_days_and_one_from_the_future_stays() {
        let event = |at| NewEvent::new(at, Category::Audit, Level::Info, "user", "tested", "tested");
        let retention = Retention::default();
        assert!(!event_goes(&event(days_ago(7)), now(), retention));
        assert!(event_goes(&event(days_ago(8)), now(), retention));
        assert!(!event_goes(&event(now().plus(Duration::from_hours(9999))), now(), retention));
    }

    #[test]
    fn a_store_is_compacted_when_it_is_large_for_what_is_in_it() {
        let mib = 1024 * 1024;
        for (size, live, after, worth) in [
            (63 * mib, 0, None, false),
            (65 * mib, mib, None, true),
            (65 * mib, 17 * mib, None, false),
            (400 * mib, 50 * mib, Some(250 * mib), false),
            (501 * mib, 50 * mib, Some(250 * mib), true),
        ] {
            assert_eq!(is_worth_compacting(size, live, after, COMPACT_FLOOR), worth, "{size} {live} {after:?}");
        }
    }

    proptest! {
        /// Removing what goes and asking again removes nothing more.
        #[test]
        fn a_second_pass_finds_nothing(
            all in proptest::collection::vec((0..3_u8, 0..6_u8, any::<bool>(), 0..90_u64), 0..200),
        ) {
            let hosts = [host("h0"), host("h1")];
            let ops = [Op::Switch, Op::Rollback, Op::Test, Op::Pull, Op::Gc, Op::ForceRebuild];
            let commands: Vec<_> = (0..).zip(all).map(|(number, (on, op, good, days))| {
                let state = if good { CommandState::Success } else { CommandState::Error };
                sketch(number, &format!("h{on}"), ops[usize::from(op)], state, days)
            }).collect();
            let kept = |from: &[Sketch]| -> Vec<Sketch> {
                let mut sieve = Sieve::new(now(), Retention::default(), &hosts);
                from.iter().filter(|command| !sieve.goes(command)).cloned().collect()
            };
            let once = kept(&commands);
            prop_assert_eq!(&kept(&once), &once);
            prop_assert!(once.len() >= commands.len().min(RECENT_COMMANDS));
        }
    }
}
