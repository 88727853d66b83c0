//! A host, the remote and what happens to them: one step a line.

use std::time::Duration;

use nixfleet_protocol::api::{CommandState, LightStatus, Lights, PullRequest};
use nixfleet_protocol::{CommandId, Commit, LockHash, Op, Time};

use crate::checks::{Refusal, Request, Standing, TotpProof, check};
use crate::command::{Command, Life};
use crate::compartments::{Sight, deployed, lights};
use crate::host::{DeployedRecord, HostRecord, SwitchRun, TestRun};
use crate::remote::{Desired, Relation, RemoteState};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A commit is pushed; `flake.lock` stays.
    Push,
    /// A commit is pushed that changes `flake.lock`.
    PushLock,
    Pull,
    Switch,
    SwitchFails,
    /// The op, not by hand.
    Rollback,
    TestsPass,
    TestsFail,
    PrOpens,
    PrMerges,
    DashboardUpdates,
    Starts(Op),
    Ends,
    RemoteFails,
    RemoteRecovers,
    RollsBackByHand,
    BumpsFlake,
}

/// A host and the remote as they are.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) host: HostRecord,
    pub(crate) remote: RemoteState,
    pub(crate) running: Option<Command>,
    pub(crate) server: String,
    pub(crate) now: Time,
    pub(crate) linked: bool,
    pub(crate) reboots: u32,
    pub(crate) totp_configured: bool,
    pub(crate) heads: u32,
    pub(crate) locks: u32,
    pub(crate) ids: u32,
}

pub(crate) fn commit(number: u32) -> Commit {
    format!("{number:07x}{number:033x}").parse().unwrap()
}

pub(crate) fn lock(number: u32) -> LockHash {
    format!("{number:064x}").parse().unwrap()
}

pub(crate) fn id(number: u32) -> CommandId {
    format!("01900000-0000-7000-8000-{number:012x}").parse().unwrap()
}

pub(crate) fn path(number: u32) -> String {
    format!("/nix/store/{number:032x}-nixos-system")
}

fn desired(head: u32, locked: u32, now: Time) -> Desired {
    Desired {
        commit: commit(head),
        subject: format!("change {head}"),
        author: "Ada".to_owned(),
        committed_at: now,
        lock_hash: (locked > 0).then(|| lock(locked)),
    }
}

pub(crate) fn command(number: u32, op: Op, state: CommandState, now: Time) -> Command {
    Command {
        id: id(number),
        host: Some("hsb0".parse().unwrap()),
        op,
        args: "{}".to_owned(),
        state,
        code: None,
        message: None,
        actor: "user".to_owned(),
        force: false,
        run_id: None,
        created_at: now,
        sent_at: Some(now),
        started_at: Some(now),
        finished_at: None,
        exit_code: None,
        log_bytes: 0,
        progress: None,
        details: None,
        life: Life::default(),
    }
}

impl Scene {
    /// A host with our own agent, connected for the first time, its checkout at the head; nothing was ever switched.
    pub(crate) fn first_connect() -> Self {
        let now = Time::from_millis(1_795_240_944_007);
        let mut remote =
            RemoteState::new(Some("https://example.org/fleet".to_owned()), "main", Duration::from_secs(30));
        remote.read(desired(1, 1, now), now);
        let mut host = HostRecord::new("hsb0".parse().unwrap(), now);
        host.first_seen = Some(now);
        host.facts.last_seen = Some(now);
        host.facts.protocol = Some(3);
        host.facts.agent_version = Some("1.0.0".to_owned());
        host.facts.generation = Some(commit(1));
        host.facts.lock_hash = Some(lock(1));
        host.facts.tests = Some(3);
        host.facts.system_path = Some(path(0));
        Self {
            host,
            remote,
            running: None,
            server: "1.0.0".to_owned(),
            now,
            linked: true,
            reboots: 0,
            totp_configured: true,
            heads: 1,
            locks: 1,
            ids: 0,
        }
    }

    /// Everything green.
    pub(crate) fn current() -> Self {
        Self::first_connect().after(&[Step::Switch, Step::TestsPass])
    }

    /// Everything green but the agent, which is of the old kind.
    pub(crate) fn current_v2() -> Self {
        let mut scene = Self::first_connect();
        scene.host.facts.protocol = Some(2);
        scene.host.facts.system_path = None;
        scene.host.facts.tests = None;
        scene.host.facts.generation = Some(commit(1).short().parse().unwrap());
        scene.after(&[Step::Switch, Step::TestsPass])
    }

    /// A fleet that has no `flake.lock` at all.
    pub(crate) fn current_without_lock() -> Self {
        let mut scene = Self::first_connect();
        scene.locks = 0;
        scene.host.facts.lock_hash = None;
        scene.remote.read(desired(1, 0, scene.now), scene.now);
        scene.after(&[Step::Switch, Step::TestsPass])
    }

    pub(crate) fn after(mut self, steps: &[Step]) -> Self {
        for step in steps {
            self.step(*step);
        }
        self
    }

    pub(crate) fn is_v2(&self) -> bool {
        self.host.facts.protocol == Some(2)
    }

    fn next_id(&mut self) -> CommandId {
        self.ids += 1;
        id(self.ids)
    }

    fn push(&mut self) {
        let before = commit(self.heads);
        self.heads += 1;
        let behind_by = self.remote.relations.iter().filter_map(|(key, relation)| match relation {
            Relation::Behind(by) => Some((key.clone(), Relation::Behind(by + 1))),
            Relation::Equal
            | Relation::Ahead(_)
            | Relation::Diverged { .. }
            | Relation::Foreign
            | Relation::Differs => None,
        });
        let relations = behind_by.chain([(before, Relation::Behind(1))]).collect();
        self.remote.read(desired(self.heads, self.locks, self.now), self.now);
        self.remote.relations = relations;
    }

    fn switched(&mut self, ok: bool) {
        let facts = &self.host.facts;
        let commit = facts.generation.clone();
        if ok {
            let number = commit.as_ref().map_or(0, |commit| u32::from_str_radix(commit.short(), 16).unwrap());
            let local = if facts.lock_local { 0x1000 } else { 0 };
            let record = commit.clone().map(|commit| DeployedRecord {
                commit,
                lock_hash: facts.lock_hash.clone(),
                system_path: (!self.is_v2()).then(|| path(number + local)),
                number: None,
                at: self.now,
            });
            if self.is_v2() {
                self.host.history.inferred = record;
            } else {
                self.host.facts.system_path = record.as_ref().and_then(|record| record.system_path.clone());
                self.host.facts.deployed = record;
            }
        }
        let command = self.next_id();
        self.host.history.last_switch = Some(SwitchRun {
            command,
            op: Op::Switch,
            ok,
            commit,
            stage: (!ok).then(|| "build".to_owned()),
            at: self.now,
            rolled_back: None,
        });
    }

    fn tested(&mut self, ok: bool) {
        let command = self.next_id();
        self.host.history.last_test = Some(TestRun {
            command,
            ok,
            passed: if ok { 3 } else { 1 },
            total: 3,
            failed: if ok { Vec::new() } else { vec!["disk.sh".to_owned(), "web.sh".to_owned()] },
            commit: deployed(&self.host).map(|deployed| deployed.commit.clone()),
            system_path: self.host.facts.system_path.clone(),
            at: self.now,
        });
    }

    fn step(&mut self, step: Step) {
        self.now = self.now.plus(Duration::from_secs(5));
        match step {
            Step::Push => self.push(),
            Step::PushLock => {
                self.locks += 1;
                self.push();
            }
            Step::Pull => {
                let facts = &mut self.host.facts;
                let head = self.remote.desired.clone().unwrap();
                facts.generation =
                    Some(if facts.protocol == Some(2) { head.commit.short().parse().unwrap() } else { head.commit });
                facts.lock_hash = head.lock_hash;
                facts.lock_local = false;
            }
            Step::Switch => self.switched(true),
            Step::SwitchFails => self.switched(false),
            Step::Rollback => {
                let before = DeployedRecord {
                    commit: commit(0xbef),
                    lock_hash: None,
                    system_path: Some(path(0xbef)),
                    number: None,
                    at: self.now,
                };
                if self.is_v2() {
                    self.host.history.inferred = Some(before);
                } else {
                    self.host.facts.system_path = before.system_path.clone();
                    self.host.facts.deployed = Some(before);
                }
            }
            Step::TestsPass => self.tested(true),
            Step::TestsFail => self.tested(false),
            Step::PrOpens => {
                self.remote.pull_request = Some(PullRequest {
                    number: 12,
                    title: "flake.lock: Update".to_owned(),
                    url: "https://example.org/12".to_owned(),
                    mergeable: Some(true),
                    why_not: None,
                    author: "updates".to_owned(),
                    head: "c0ffee0".parse().unwrap(),
                    labels: vec!["automated".to_owned()],
                    commits: Some(1),
                    changed_files: Some(1),
                    created_at: self.now,
                });
            }
            Step::PrMerges => {
                self.remote.pull_request = None;
                self.locks += 1;
                self.push();
            }
            Step::DashboardUpdates => "1.1.0".clone_into(&mut self.server),
            Step::Starts(op) => {
                let id = self.next_id();
                self.running = Some(Command { id, ..command(0, op, CommandState::Executing, self.now) });
            }
            Step::Ends => self.running = None,
            Step::RemoteFails => {
                self.now = self.now.plus(Duration::from_mins(2));
                self.remote.failed("no route to host", self.now);
            }
            Step::RemoteRecovers => {
                let same = self.remote.desired.clone().unwrap();
                self.remote.read(same, self.now);
            }
            Step::RollsBackByHand => self.host.facts.system_path = Some(path(0xbef)),
            Step::BumpsFlake => {
                self.host.facts.lock_hash = Some(lock(0xfff));
                self.host.facts.lock_local = true;
            }
        }
    }

    pub(crate) fn sight(&self) -> Sight<'_> {
        Sight {
            host: &self.host,
            running: self.running.as_ref(),
            remote: &self.remote,
            server_version: &self.server,
            now: self.now,
        }
    }

    pub(crate) fn standing(&self) -> Standing<'_> {
        Standing {
            sight: self.sight(),
            linked: self.linked,
            run: None,
            reboots_last_hour: self.reboots,
            daemon_started: self.now,
            totp_configured: self.totp_configured,
        }
    }

    pub(crate) fn lights(&self) -> Lights {
        lights(&self.sight())
    }

    /// The five lights as the specification draws them.
    pub(crate) fn drawn(&self) -> String {
        self.lights().each().into_iter().map(|(_, light)| drawn(light.status)).collect()
    }

    pub(crate) fn check(&self, op: Op) -> Result<(), Refusal> {
        check(op, &Request { force: false, totp: TotpProof::Valid, run_id: None }, &self.standing())
    }
}

pub(crate) fn drawn(status: LightStatus) -> char {
    match status {
        LightStatus::Ok => '🟢',
        LightStatus::Outdated => '🟡',
        LightStatus::Error => '🔴',
        LightStatus::Working => '🔵',
        LightStatus::Unknown => '⚪',
    }
}
