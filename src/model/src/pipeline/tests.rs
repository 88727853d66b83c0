//! Runs as tables: what begins, what is waited for, how it ends. The world around the run is made by hand.

mod bound;
mod decisions;
mod drafts;
mod properties;
mod soaks;
mod turns;

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_protocol::api::{Canary, CommandState, HostState, RunOptions, RunState};
use nixfleet_protocol::{CommandId, HostId, Op, RunId, Time};
use uuid::Uuid;

use super::*;
use crate::view::SystemNow;

const START: Time = Time::from_millis(1_800_000_000_000);

fn id(number: u64) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(u128::from(number)))
}

fn run_id() -> RunId {
    RunId::from_uuid(Uuid::from_u128(7))
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn wanted(hosts: &[&str], options: RunOptions) -> Wanted {
    let hosts = hosts.iter().map(|name| host(name)).collect();
    Wanted { id: run_id(), hosts, options, actor: "user".to_owned(), totp: false }
}

fn canary(names: &[&str]) -> Canary {
    Canary { hosts: names.iter().map(|name| host(name)).collect(), tag: None }
}

/// A host that is there, with what was deployed.
fn online() -> HostFact {
    HostFact {
        state: HostState::Online,
        busy: false,
        red: false,
        system: SystemNow::Current,
        checkout: None,
        failed_units: Vec::new(),
    }
}

/// A run and the world around it: hosts that are online, commands that go on until the test ends them.
struct World {
    run: Run,
    facts: Facts,
    now: Time,
    next: u64,
    last: Option<Planned>,
    /// What was begun, in order: `pull a`.
    begun: Vec<String>,
    told: Vec<String>,
}

impl World {
    fn new(pipeline: &str, hosts: &[&str], options: RunOptions) -> Self {
        let registry = Registry::default();
        let known = registry.get(pipeline).unwrap();
        let run = draft(known, wanted(hosts, options), |_| Vec::new(), START).unwrap();
        let online = online();
        let facts = Facts {
            hosts: run.hosts.keys().map(|host| (host.clone(), online.clone())).collect(),
            said: BTreeMap::new(),
            head: None,
            branch: "main".to_owned(),
            daemon_started: START.minus(Duration::from_hours(1)),
        };
        let mut world = Self { run, facts, now: START, next: 1, last: None, begun: Vec::new(), told: Vec::new() };
        world.look();
        world
    }

    /// Plans, and begins what is to begin.
    fn look(&mut self) {
        let planned = plan(&self.run, &self.facts, self.now);
        self.run = planned.run.clone();
        for place in &planned.begin {
            self.run.begin(place, id(self.next), self.now);
            self.next += 1;
            let op = self.run.record.stages[place.stage].op;
            let on = place.host.as_ref().map_or(String::new(), |host| format!(" {host}"));
            self.begun.push(format!("{op}{on}"));
        }
        self.told.extend(planned.events.iter().map(|event| event.action.clone()));
        self.last = Some(planned);
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.look();
    }

    /// The command that is under way on a host (`""`: of the run).
    fn under_way(&self, name: &str) -> CommandId {
        let of = |host: Option<&HostId>| host.map_or("", HostId::as_str) == name;
        self.run.under_way().find(|(host, _, _)| of(*host)).and_then(|(_, _, cell)| cell.command).expect(name)
    }

    /// What runs on a host.
    fn op_of(&self, name: &str) -> Op {
        let of = |host: Option<&HostId>| host.map_or("", HostId::as_str) == name;
        let (_, stage, _) = self.run.under_way().find(|(host, _, _)| of(*host)).expect(name);
        self.run.record.stages[stage].op
    }

    fn fact(&mut self, name: &str) -> &mut HostFact {
        self.facts.hosts.get_mut(&host(name)).unwrap()
    }

    fn say(&mut self, name: &str, said: Said) {
        let id = self.under_way(name);
        self.facts.said.insert(id, said);
        self.look();
    }

    fn ends(&mut self, name: &str, state: CommandState) {
        let op = self.op_of(name);
        let switched = matches!(op, Op::Switch | Op::ForceRebuild) && state == CommandState::Success;
        self.say(name, Said::Is { state, code: None, message: None, switched });
    }

    fn blocked(&mut self, name: &str, code: &str) {
        let message = Some(format!("because of {code}"));
        self.say(
            name,
            Said::Is { state: CommandState::Blocked, code: Some(code.to_owned()), message, switched: false },
        );
    }

    fn is(&mut self, name: &str, state: HostState) {
        self.facts.hosts.get_mut(&host(name)).unwrap().state = state;
        self.look();
    }

    fn states(&self, name: &str) -> Vec<CommandState> {
        self.run.hosts[&host(name)].cells.iter().map(|cell| cell.state).collect()
    }

    fn state(&self) -> RunState {
        self.run.record.state
    }

    /// What was begun since this was asked last.
    fn began(&mut self) -> String {
        std::mem::take(&mut self.begun).join(", ")
    }

    fn waits(&self) -> Vec<nixfleet_protocol::api::WaitKind> {
        self.last.as_ref().unwrap().waits.iter().map(|wait| wait.kind).collect()
    }

    fn wakes_in(&self) -> Option<u64> {
        self.last.as_ref().unwrap().wake.map(|at| at.since(self.now).as_secs())
    }
}

fn ops(run: &Run) -> Vec<Op> {
    run.record.stages.iter().map(|stage| stage.op).collect()
}
