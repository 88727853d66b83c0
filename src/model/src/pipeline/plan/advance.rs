//! The stage of the group that goes now, and the group after it.

use nixfleet_protocol::api::{CommandState, HostState, Offline, RunState, WaitKind};
use nixfleet_protocol::{HostId, Time};

use super::super::record::{Cell, Run};
use super::super::words;
use super::{Begin, Draft, under_way};
use crate::ops::{PreCheck, spec};

/// Whether a host can begin an op now.
enum Ready {
    Yes,
    /// It is waited for.
    Not {
        kind: WaitKind,
        why: String,
    },
    /// It is passed over at once.
    Skip(String),
}

impl Draft<'_> {
    /// One round. Says whether there is another: something ended, and what follows from it may be more.
    pub(super) fn advance(&mut self) -> bool {
        let Run { record, hosts } = &self.planned.run;
        if record.is_over() {
            return false;
        }
        if record.rolls_back {
            return self.take_back();
        }
        let here = hosts.values().filter(|host| host.group <= record.group);
        let stage = here.filter_map(|host| host.cells.iter().position(|cell| !cell.is_over())).min();
        if self.strays(stage) {
            return true;
        }
        match stage {
            Some(stage) => self.work(stage),
            None => self.after_stages(),
        }
    }

    /// A stage over the hosts that have come so far. Says whether somebody was skipped: then more may be over.
    fn work(&mut self, stage: usize) -> bool {
        let Run { record, hosts } = &self.planned.run;
        if let Some(Some(shared)) = record.shared.get(stage) {
            if shared.is_ahead() {
                self.planned.begin.insert(Begin { host: None, stage });
            }
            return false;
        }
        let mut due = self.planned.run.in_order();
        due.retain(|host| {
            hosts
                .get(host)
                .is_some_and(|host| host.group <= record.group && host.cells.get(stage).is_some_and(Cell::is_ahead))
        });
        let skipped = self.take_turns(&due, stage);
        if skipped {
            self.spread();
        }
        skipped
    }

    /// Hosts take their turns while there is room for one more at once. Says whether somebody was skipped.
    fn take_turns(&mut self, due: &[HostId], stage: usize) -> bool {
        let most = self.planned.run.record.options.parallel.map_or(usize::MAX, |most| most as usize);
        // A round may follow a round: what the one before chose counts already.
        let chosen = self.planned.begin.iter().filter(|begin| begin.host.is_some()).count();
        let mut room = most.saturating_sub(under_way(&self.planned.run) + chosen);
        let mut skipped = false;
        for host in due {
            if room == 0 {
                break;
            }
            let begin = Begin { host: Some(host.clone()), stage };
            if self.planned.begin.contains(&begin) {
                continue;
            }
            match self.ready(host, stage) {
                Ready::Yes => {
                    self.planned.begin.insert(begin);
                    room -= 1;
                }
                Ready::Skip(why) => {
                    skipped = true;
                    self.skip(host, stage, why);
                }
                Ready::Not { kind, why } => {
                    let turn = self.turn_of(host, stage);
                    let until = self.turn_ends(turn);
                    if self.now < until {
                        self.wait(kind, Some(host), Some(until), why);
                    } else {
                        skipped = true;
                        self.skip(host, stage, why);
                    }
                }
            }
        }
        skipped
    }

    fn cell(&mut self, host: &HostId, stage: usize) -> Option<&mut Cell> {
        self.planned.run.hosts.get_mut(host).and_then(|host| host.cells.get_mut(stage))
    }

    fn skip(&mut self, host: &HostId, stage: usize, why: String) {
        if let Some(cell) = self.cell(host, stage) {
            cell.end(CommandState::Skipped, None, Some(why));
        }
    }

    /// When the host's turn came; now, where it comes now.
    fn turn_of(&mut self, host: &HostId, stage: usize) -> Time {
        let now = self.now;
        self.cell(host, stage).map_or(now, |cell| *cell.turn_at.get_or_insert(now))
    }

    fn ready(&self, host: &HostId, stage: usize) -> Ready {
        let run = &self.planned.run;
        let Some(op) = run.record.stages.get(stage).map(|stage| stage.op) else {
            return Ready::Skip("There is no such stage.".to_owned());
        };
        let needs = spec(op).pre;
        let Some(fact) = self.facts.hosts.get(host) else {
            let why = format!("{host} is not known, or its actor does not work.");
            return Ready::Not { kind: WaitKind::Online, why };
        };
        if needs.contains(&PreCheck::Online) && fact.state != HostState::Online {
            let away = matches!(fact.state, HostState::Offline | HostState::Never);
            let begun = run.hosts.get(host).is_some_and(|host| host.has_begun(&run.record.stages));
            let skip = run.record.options.offline == Offline::Skip && away && !begun;
            if skip && self.now >= self.settled_at() {
                return Ready::Skip(format!("{host} was offline when its turn came."));
            }
            return Ready::Not { kind: WaitKind::Online, why: format!("{host} is not online.") };
        }
        if needs.contains(&PreCheck::Idle) && fact.busy {
            return Ready::Not { kind: WaitKind::Idle, why: format!("{host} is busy with another command.") };
        }
        Ready::Yes
    }

    /// The group went through its stages: it soaks, and then the next one goes.
    fn after_stages(&mut self) -> bool {
        let Run { record, hosts } = &self.planned.run;
        let own = record.own_stages();
        if record.group + 1 >= record.groups {
            let state = words::result(&self.planned.run);
            self.finish(state);
            return false;
        }
        let someone = hosts.values().any(|host| host.group == record.group && host.came_through(own));
        if record.options.soak_s == 0 || !someone {
            return self.next_group();
        }
        match record.soak {
            None => self.begin_soak(),
            Some(soak) if soak.tests => self.next_group(),
            Some(soak) => self.soak(soak),
        }
    }

    /// The next group goes, unless it would get something else than those before it.
    pub(super) fn next_group(&mut self) -> bool {
        if self.went_on() {
            return true;
        }
        let record = &mut self.planned.run.record;
        record.group += 1;
        record.soak = None;
        true
    }

    /// Takes back what was switched: each host as soon as nothing of this run runs on it.
    fn take_back(&mut self) -> bool {
        let Run { record, hosts } = &self.planned.run;
        let last = record.own_stages();
        let rests = |host: &&HostId| {
            hosts.get(*host).is_some_and(|host| {
                host.cells.iter().take(last).all(Cell::is_over) && host.cells.get(last).is_some_and(Cell::is_ahead)
            })
        };
        let in_order = self.planned.run.in_order();
        let switched = |host: &&HostId| hosts.get(*host).is_some_and(|host| host.switched);
        let (due, others): (Vec<HostId>, Vec<HostId>) =
            in_order.iter().filter(rests).cloned().partition(|it| switched(&it));
        for host in others {
            self.skip(&host, last, "This run did not switch it.".to_owned());
        }
        let skipped = self.take_turns(&due, last);
        if self.planned.run.hosts.values().all(|host| host.cells.iter().all(Cell::is_over)) {
            self.finish(RunState::Failed);
            return false;
        }
        skipped
    }
}
