//! The host as everyone sees it. Lights, offers and refusals are kept from one heartbeat to the next: most of them tell
//! another load and nothing else, and to judge all again costs more than the rest of a heartbeat.
//!
//! Invariant (`tests/sequences.rs`): what is told is what a fresh look gives. So any other input than a heartbeat ends
//! what was kept, and so does a heartbeat with news, and the time where it counts.

use std::sync::Arc;

use nixfleet_protocol::Time;

use super::Core;
use crate::checks::Standing;
use crate::command::Command;
use crate::compartments::Sight;
use crate::fleet_state::StateChange;
use crate::view::{HostView, Judged, REBOOT_COUNTS, command_view, host_view, judge, judged_until, shown};

/// What was judged, and when that is true.
#[derive(Debug)]
pub(super) struct Kept {
    judged: Judged,
    /// When it was judged: a clock that was set back may bring back what was over.
    from: Time,
    /// From when on it may be another; none: it stays.
    until: Option<Time>,
}

impl Kept {
    fn holds(&self, now: Time) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

impl Core {
    pub(super) fn host_change(&mut self, now: Time) -> StateChange {
        let judged = match &self.kept {
            Some(kept) if kept.holds(now) => kept.judged.clone(),
            Some(_) | None => self.judge(now),
        };
        StateChange::Host(Arc::new(shown(&self.standing(self.open.as_deref(), now), None, judged)))
    }

    fn judge(&mut self, now: Time) -> Judged {
        let judged = self.settings.alike.share(judge(&self.standing(self.open.as_deref(), now)));
        let until = judged_until(&self.remote, &self.record.history.reboots, now);
        self.kept = Some(Kept { judged: judged.clone(), from: now, until });
        judged
    }

    /// Everything of this host as it is now, for those who may see it: only while no commit is under way.
    pub fn changes(&mut self, now: Time) -> Vec<StateChange> {
        let commands = self.unfinished().map(|command| StateChange::Command(Arc::new(command_view(command))));
        let mut changes: Vec<_> = commands.collect();
        changes.push(self.host_change(now));
        changes
    }

    /// The host as everyone sees it, judged now.
    pub fn view(&self, broken: Option<&str>, now: Time) -> HostView {
        host_view(&self.standing(self.open.as_deref(), now), broken)
    }

    /// What the checks look at; the same that is shown.
    pub(super) fn standing<'a>(&'a self, running: Option<&'a Command>, now: Time) -> Standing<'a> {
        let reboots = self.record.history.reboots.iter().filter(|at| now.since(**at) < REBOOT_COUNTS).count();
        Standing {
            sight: Sight {
                host: &self.record,
                running,
                remote: &self.remote,
                server_version: &self.settings.server_version,
                now,
            },
            linked: self.link.is_some(),
            run: self.run,
            reboots_last_hour: u32::try_from(reboots).unwrap_or(u32::MAX),
            daemon_started: self.settings.daemon_started,
            totp_configured: self.settings.totp_configured,
        }
    }
}
