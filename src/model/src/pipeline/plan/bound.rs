//! What the groups of a roll-out get is what its first group has tried: the commits that its hosts pulled. A group that
//! would get, or has pulled, another one does not switch to it before a person says so.

use nixfleet_protocol::Commit;

use super::super::record::{Moved, Run};
use super::Draft;

impl Draft<'_> {
    /// The hosts of the group have pulled, and their next stage is `next`: what the first ones have is remembered; what
    /// those behind have must be the same. Says whether it is not.
    pub(super) fn strays(&mut self, next: Option<usize>) -> bool {
        let Run { record, hosts } = &self.planned.run;
        let Some(pull) = record.pull_stage() else { return false };
        if record.groups < 2 || record.soak.is_some() || next.is_some_and(|next| next <= pull) {
            return false;
        }
        let pulled = || {
            let of_group = hosts.values().filter(|host| host.group == record.group && host.fell.is_none());
            of_group.filter(|host| host.cells.get(pull).is_some_and(super::super::record::Cell::passed))
        };
        let mut checkouts: Vec<Commit> = Vec::new();
        for host in pulled() {
            let checkout = self.facts.hosts.get(&host.host).and_then(|fact| fact.checkout.as_ref());
            if let Some(checkout) = checkout.filter(|it| !checkouts.iter().any(|other| other.is(it))) {
                checkouts.push(checkout.clone());
            }
        }
        if record.heads.is_empty() {
            if checkouts.is_empty() && pulled().next().is_some() {
                checkouts.extend(self.facts.head.clone());
            }
            self.planned.run.record.heads = checkouts;
            return false;
        }
        checkouts.into_iter().any(|checkout| self.moves(checkout))
    }

    /// Whether the branch went on since the group before the next one pulled.
    pub(super) fn went_on(&mut self) -> bool {
        let record = &self.planned.run.record;
        let pulls = record.pull_stage().is_some();
        self.facts.head.clone().filter(|_| pulls).is_some_and(|head| self.moves(head))
    }

    /// Whether nobody has tried this commit: then a person is asked.
    fn moves(&mut self, to: Commit) -> bool {
        let record = &mut self.planned.run.record;
        let Some(from) = record.heads.last().filter(|_| !record.heads.iter().any(|head| head.is(&to))).cloned() else {
            return false;
        };
        record.moved = Some(Moved { branch: self.facts.branch.clone(), from, to });
        true
    }
}
