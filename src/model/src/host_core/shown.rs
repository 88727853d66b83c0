//! The host as everyone sees it. Most heartbeats tell another load and nothing else. To judge lights, offers and refusals
//! again for each, and to tell all of the host again, costs more than the rest of a heartbeat: so once it was told whole,
//! such a one tells what it changes ([`Beat`](crate::view::Beat)).
//!
//! Invariant (`tests/shown.rs`): what was told, in its order, is what a fresh look gives. So after any other input than a
//! heartbeat, after a heartbeat with news or with something to write, and when the time counts, all is judged and told
//! again. What is told reaches the state: a host's actor tells nothing beside a commit under way, and tells all again
//! to a sync actor that was started again ([`Core::forget_told`]).

use std::sync::Arc;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::HostState;

use super::Core;
use crate::checks::Standing;
use crate::command::Command;
use crate::compartments::Sight;
use crate::fleet_state::StateChange;
use crate::view::{HostView, REBOOT_COUNTS, beat, command_view, host_view, judge, judged_until, shown};

/// The host was told whole, and how long all but the load of that is true.
#[derive(Debug)]
pub(super) struct Told {
    /// When it was judged: a clock that was set back may bring back what was over.
    from: Time,
    /// From when on it may be another; none: it stays.
    until: Option<Time>,
    /// Whether it was there, as it was told last.
    state: HostState,
}

impl Told {
    fn holds(&self, now: Time) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

impl Core {
    /// Judged anew and told whole.
    pub(super) fn host_change(&mut self, now: Time) -> StateChange {
        let judged = self.settings.alike.share(judge(&self.standing(self.open.as_deref(), now)));
        let until = judged_until(&self.remote, &self.record.history.reboots, now);
        let view = shown(&self.standing(self.open.as_deref(), now), None, judged);
        self.told_whole = Some(Told { from: now, until, state: view.host.state });
        StateChange::Host(Arc::new(view))
    }

    /// Everything of this host as it is now, for those who may see it: only while no commit is under way.
    pub fn changes(&mut self, now: Time) -> Vec<StateChange> {
        let commands = self.unfinished().map(|command| StateChange::Command(Arc::new(command_view(command))));
        let mut changes = Vec::with_capacity(1);
        changes.extend(commands);
        changes.push(match self.told_whole.as_ref().filter(|told| told.holds(now)).map(|told| told.state) {
            Some(before) => {
                let beat = beat(&self.standing(self.open.as_deref(), now), before);
                if let Some(told) = &mut self.told_whole {
                    told.state = beat.state();
                }
                StateChange::Beat(Box::new(beat))
            }
            None => self.host_change(now),
        });
        changes
    }

    /// What was told may be known to nobody any more: the next time the host is told whole.
    pub fn forget_told(&mut self) {
        self.told_whole = None;
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
