//! The soak of a group: its hosts have to stay as good as they were, and in its end their tests have to pass once more.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{HostState, WaitKind};

use super::super::record::{Baseline, Cell, Run, Soak};
use super::super::words;
use super::{Draft, HostFact, SETTLE};
use crate::view::SystemNow;

impl From<&HostFact> for Baseline {
    fn from(fact: &HostFact) -> Self {
        let current = fact.system == SystemNow::Current;
        Self { red: fact.red, current, failed_units: fact.failed_units.clone() }
    }
}

impl Baseline {
    /// What became worse.
    fn worse(&self, fact: &HostFact) -> Option<String> {
        if fact.red && !self.red {
            return Some("a light turned red in the soak".to_owned());
        }
        let strayed = match fact.system {
            SystemNow::ChangedOutside => Some("its running system was changed in the soak"),
            SystemNow::NotSwitched => Some("its checkout was changed in the soak"),
            SystemNow::Current | SystemNow::Failed | SystemNow::Unknown => None,
        };
        if let Some(why) = strayed.filter(|_| self.current) {
            return Some(why.to_owned());
        }
        let unit = fact.failed_units.iter().find(|unit| !self.failed_units.contains(unit))?;
        Some(format!("{unit} failed in the soak"))
    }

    /// What was good once has to stay so.
    fn hold(&mut self, fact: &HostFact) {
        self.red &= fact.red;
        self.current |= fact.system == SystemNow::Current;
    }
}

impl Draft<'_> {
    pub(super) fn begin_soak(&mut self) -> bool {
        let (now, facts) = (self.now, self.facts);
        let Run { record, hosts } = &mut self.planned.run;
        let until = now.plus(Duration::from_secs(record.options.soak_s));
        record.soak = Some(Soak { since: now, until, tests: false });
        for host in hosts.values_mut().filter(|host| host.group == record.group) {
            host.before = facts.hosts.get(&host.host).map(Baseline::from);
        }
        true
    }

    /// The hosts of the group have to stay good. Says whether something ended.
    pub(super) fn soak(&mut self, soak: Soak) -> bool {
        let (now, settled, facts) = (self.now, self.settled_at(), self.facts);
        // Whoever is silent at its end has a moment to come back, and no more.
        let last = soak.until.plus(SETTLE).max(settled);
        let Run { record, hosts } = &mut self.planned.run;
        let (own, group) = (record.own_stages(), record.group);
        let (mut fell, mut unsure) = (false, false);
        for host in hosts.values_mut().filter(|host| host.group == group && host.came_through(own)) {
            let fact = facts.hosts.get(&host.host);
            let away = match fact.map(|fact| fact.state) {
                Some(HostState::Online) => false,
                Some(HostState::Offline | HostState::Never) | None => now >= settled,
                Some(HostState::Stale) => now >= last,
            };
            let worse = fact.and_then(|fact| {
                let before = host.before.get_or_insert_with(|| Baseline::from(fact));
                before.hold(fact);
                before.worse(fact)
            });
            let why = worse.or_else(|| away.then(|| "it went offline in the soak".to_owned()));
            unsure |= why.is_none() && fact.is_none_or(|fact| fact.state != HostState::Online);
            fell |= why.is_some();
            host.fell = why;
        }
        if fell {
            return true;
        }
        let until = if unsure { last } else { soak.until };
        if now >= until {
            return self.test_again() || self.next_group();
        }
        let message = format!("{} soaks: it has to stay good.", words::group(&self.planned.run.record, group));
        self.wait(WaitKind::Soak, None, Some(until), message);
        for earlier in [soak.until, settled].into_iter().filter(|at| now < *at) {
            self.wake_at(earlier);
        }
        false
    }

    /// Nothing tells of a service that no longer does what it should as its tests do: where the pipeline has them, they
    /// run once more. Says whether there are any.
    fn test_again(&mut self) -> bool {
        let Run { record, hosts } = &mut self.planned.run;
        let (own, group) = (record.own_stages(), record.group);
        let Some(test) = record.stages.iter().take(own).rposition(|stage| stage.op == Op::Test) else { return false };
        let mut again = false;
        for host in hosts.values_mut().filter(|host| host.group == group && host.came_through(own)) {
            if host.cells.get(test).is_some_and(|cell: &Cell| cell.command.is_some()) {
                host.try_again(test);
                again = true;
            }
        }
        if let Some(soak) = record.soak.as_mut().filter(|_| again) {
            soak.tests = true;
        }
        again
    }
}
