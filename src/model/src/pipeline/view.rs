//! A run as everyone sees it.

use nixfleet_protocol::api::{self, GroupState, Halted, RunGroup, RunWait};

use super::decide::is_open_failure;
use super::record::{Cell, Run, RunHost};
use super::words;

impl Run {
    /// In the API's shape, with what it waits for now.
    pub fn view(&self, waits: Vec<RunWait>) -> api::Run {
        let record = &self.record;
        let stage = self.stage();
        api::Run {
            id: record.id,
            pipeline: record.pipeline.clone(),
            label: record.label.clone(),
            actor: record.actor.clone(),
            state: record.state,
            message: words::now(self, stage),
            stage: u32::try_from(stage).unwrap_or(u32::MAX),
            ops: record.stages.iter().map(|stage| stage.op).collect(),
            hosts: self.of_hosts(|host| host.cells.iter().map(|cell| cell.state).collect()),
            commands: self.of_hosts(|host| host.cells.iter().map(|cell| cell.command).collect()),
            notes: self
                .hosts
                .values()
                .filter_map(|host| Some((host.host.clone(), words::note(record, host)?)))
                .collect(),
            groups: (0..record.groups).map(|group| self.group_view(group)).collect(),
            group: record.group,
            waits,
            halted: self.halted_view(),
            options: record.options.clone(),
            created_at: record.created_at,
            finished_at: record.finished_at,
        }
    }

    fn of_hosts<T>(&self, of: impl Fn(&RunHost) -> T) -> std::collections::BTreeMap<nixfleet_protocol::HostId, T> {
        self.hosts.values().map(|host| (host.host.clone(), of(host))).collect()
    }

    /// The stage that goes now; the last one, where all are over.
    fn stage(&self) -> usize {
        let record = &self.record;
        let last = record.stages.len().saturating_sub(1);
        if record.rolls_back || record.is_over() {
            return last;
        }
        let ahead = self.hosts.values().filter(|host| host.group <= record.group);
        ahead.filter_map(|host| host.cells.iter().position(|cell| !cell.is_over())).min().unwrap_or(last)
    }

    fn group_view(&self, group: u32) -> RunGroup {
        let record = &self.record;
        let own = record.own_stages();
        let mut hosts: Vec<&RunHost> = self.hosts.values().filter(|host| host.group == group).collect();
        hosts.sort_by_key(|host| host.place);
        let soak = record.soak.filter(|_| group == record.group);
        let through = hosts.iter().all(|host| host.cells.iter().take(own).all(Cell::is_over));
        let state = if group > record.group {
            GroupState::Waiting
        } else if !through && !record.is_over() {
            GroupState::Running
        } else if soak.is_some() && record.halted.is_none() {
            GroupState::Soaking
        } else if hosts.iter().all(|host| host.came_through(own)) {
            GroupState::Passed
        } else {
            GroupState::Failed
        };
        RunGroup {
            label: words::group(record, group),
            canary: group == 0 && record.options.canary.is_some(),
            hosts: hosts.into_iter().map(|host| host.host.clone()).collect(),
            state,
            soak_until: soak.map(|soak| soak.until),
        }
    }

    fn halted_view(&self) -> Option<Halted> {
        let halted = self.record.halted.as_ref()?;
        let own = self.record.own_stages();
        let hosts = self.in_order();
        let of = |wanted: &dyn Fn(&RunHost) -> bool| {
            hosts.iter().filter(|host| self.hosts.get(host).is_some_and(wanted)).cloned().collect()
        };
        Some(Halted {
            at: halted.at,
            // More may have failed since.
            reason: words::why_halt(self).unwrap_or_else(|| halted.why.clone()),
            failed: of(&|host| is_open_failure(host, own)),
            switched: of(&|host| host.switched),
            decisions: self.decisions(),
        })
    }
}
