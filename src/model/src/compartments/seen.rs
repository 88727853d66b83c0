//! What is the case with a host, before it is given a colour. The lights and the checks read the same value.

use nixfleet_protocol::api::PullRequest;
use nixfleet_protocol::{Commit, LockHash};

use super::Sight;
use crate::host::{DeployedRecord, HostRecord, SwitchRun, TestRun};
use crate::remote::{Desired, Failing, Readability, Relation, RemoteState};

/// Git, Lock, System and Tests as they are, whatever runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen<'a> {
    pub(crate) host: &'a HostRecord,
    pub(crate) git: Git<'a>,
    pub(crate) lock: Lock<'a>,
    pub(crate) system: System<'a>,
    pub(crate) tests: Tests<'a>,
}

/// Why the desired state can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blind<'a> {
    NotConfigured,
    NotYet,
    Unreadable(&'a Failing),
}

/// The checkout against the remote's head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Git<'a> {
    /// The host reported no commit; perhaps git's own words say why.
    NoCommit(Option<&'a str>),
    Blind(Blind<'a>),
    Differs {
        relation: Relation,
        head: &'a Desired,
        ours: &'a Commit,
    },
    Equal(&'a Desired),
}

/// The checkout's lock against the remote's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lock<'a> {
    /// No `flake.lock` on either side: it counts for nothing.
    Nothing,
    NotReported,
    Blind(Blind<'a>),
    ChangedHere,
    Behind,
    UpdateWaits(&'a PullRequest),
    Equal,
}

/// What is deployed against the checkout, regardless of the remote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum System<'a> {
    /// No history and no deployed commit.
    Unknown,
    /// The last switch failed.
    Failed(&'a SwitchRun),
    /// A switch succeeded, and nobody can say of which commit.
    Unnamed(&'a SwitchRun),
    /// The host says what is deployed, and not what is checked out.
    NoCheckout(DeployedNow<'a>),
    /// The checkout is another commit than the deployed one.
    NotSwitched(DeployedNow<'a>),
    /// The same commit with another lock.
    LockNotSwitched(DeployedNow<'a>),
    /// The running system is not the one that was deployed.
    ChangedOutside(DeployedNow<'a>),
    /// The checkout is deployed and runs.
    Current(DeployedNow<'a>),
}

/// The last test run against what is deployed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tests<'a> {
    /// There are none.
    None,
    NeverRan,
    Failed(&'a TestRun),
    OtherState(&'a TestRun),
    Passed(&'a TestRun),
}

/// Who says what is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The agent's own record of the last good switch.
    Agent,
    /// The history of commands here (old agents).
    History,
    /// The running system, which names its configuration's revision; nobody switched it from here.
    Revision,
}

/// What is deployed on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeployedNow<'a> {
    /// The commit.
    pub commit: &'a Commit,
    /// SHA-256 of its `flake.lock`, where it is known.
    pub lock_hash: Option<&'a LockHash>,
    /// The system that the switch activated, where the platform names one.
    pub system_path: Option<&'a str>,
    /// Who says so.
    pub witness: Witness,
}

impl<'a> DeployedNow<'a> {
    fn from_record(record: &'a DeployedRecord, witness: Witness) -> Self {
        Self {
            commit: &record.commit,
            lock_hash: record.lock_hash.as_ref(),
            system_path: record.system_path.as_deref(),
            witness,
        }
    }
}

/// The record of the last good switch: the agent's own, or for old agents the one inferred from the history.
pub(crate) fn deployed_record(host: &HostRecord) -> Option<(&DeployedRecord, Witness)> {
    let reported = host.facts.deployed.as_ref().map(|record| (record, Witness::Agent));
    let inferred = host.history.inferred.as_ref().map(|record| (record, Witness::History));
    match (reported, inferred) {
        // An agent that went back to the old kind: its record stands still while the history goes on.
        (Some(reported), Some(inferred)) if host.facts.protocol == Some(2) && inferred.0.at > reported.0.at => {
            Some(inferred)
        }
        (Some(reported), _) => Some(reported),
        (None, inferred) => inferred,
    }
}

/// What is deployed on a host, from whoever can say it. What a test run remembers as "the deployed commit then"
/// is this commit.
pub fn deployed(host: &HostRecord) -> Option<DeployedNow<'_>> {
    if let Some((record, witness)) = deployed_record(host) {
        return Some(DeployedNow::from_record(record, witness));
    }
    let good = host.history.last_switch.as_ref().filter(|switch| switch.ok);
    if let Some(commit) = good.and_then(|switch| switch.commit.as_ref()) {
        return Some(DeployedNow { commit, lock_hash: None, system_path: None, witness: Witness::History });
    }
    let commit = host.facts.system_revision.as_ref()?;
    let system_path = host.facts.system_path.as_deref();
    Some(DeployedNow { commit, lock_hash: None, system_path, witness: Witness::Revision })
}

impl<'a> Seen<'a> {
    pub(crate) fn of(sight: &Sight<'a>) -> Self {
        let (host, remote) = (sight.host, sight.remote);
        let desired = match remote.readability(sight.now) {
            Readability::NotConfigured => Err(Blind::NotConfigured),
            Readability::NotYet => Err(Blind::NotYet),
            Readability::Unreadable(failing) => Err(Blind::Unreadable(failing)),
            Readability::Readable(desired) => Ok(desired),
        };
        Self {
            host,
            git: git(host, remote, desired),
            lock: lock(host, remote, desired),
            system: system(host),
            tests: tests(host),
        }
    }

    /// Whether the desired state of Git or Lock can't be read: their light is red.
    pub(crate) fn remote_is_red(&self) -> Option<Blind<'a>> {
        let red = |blind| match blind {
            Blind::NotConfigured | Blind::Unreadable(_) => Some(blind),
            Blind::NotYet => None,
        };
        let git = if let Git::Blind(blind) = self.git { red(blind) } else { None };
        let lock = if let Lock::Blind(blind) = self.lock { red(blind) } else { None };
        git.or(lock)
    }

    /// Whether a pull would find nothing to do: the commit is the head, and the lock is the head's.
    pub(crate) fn is_pulled(&self) -> bool {
        matches!(self.git, Git::Equal(_)) && !matches!(self.lock, Lock::Behind | Lock::ChangedHere)
    }

    /// Whether System would be green were Git and Lock green.
    pub(crate) fn is_switched(&self) -> bool {
        matches!(self.system, System::Current(_))
    }
}

fn git<'a>(host: &'a HostRecord, remote: &'a RemoteState, desired: Result<&'a Desired, Blind<'a>>) -> Git<'a> {
    let facts = &host.facts;
    let Some(ours) = &facts.generation else { return Git::NoCommit(facts.repo_error.as_deref()) };
    match desired {
        Err(blind) => Git::Blind(blind),
        Ok(head) => match remote.relation(ours) {
            Relation::Equal => Git::Equal(head),
            relation @ (Relation::Behind(_)
            | Relation::Ahead(_)
            | Relation::Diverged { .. }
            | Relation::Foreign
            | Relation::Differs) => Git::Differs { relation, head, ours },
        },
    }
}

fn lock<'a>(host: &'a HostRecord, remote: &'a RemoteState, desired: Result<&'a Desired, Blind<'a>>) -> Lock<'a> {
    let Some(ours) = &host.facts.lock_hash else {
        // What was read last is good enough to say that there is no lock to speak of.
        let none_there = remote.desired.as_ref().is_some_and(|desired| desired.lock_hash.is_none());
        return if none_there { Lock::Nothing } else { Lock::NotReported };
    };
    match desired {
        Err(blind) => Lock::Blind(blind),
        Ok(_) if host.facts.lock_local => Lock::ChangedHere,
        Ok(desired) if desired.lock_hash.as_ref() != Some(ours) => Lock::Behind,
        Ok(_) => remote.pull_request.as_ref().map_or(Lock::Equal, Lock::UpdateWaits),
    }
}

fn system(host: &HostRecord) -> System<'_> {
    if let Some(failed) = host.history.last_switch.as_ref().filter(|switch| !switch.ok) {
        return System::Failed(failed);
    }
    let Some(now) = deployed(host) else {
        return host.history.last_switch.as_ref().map_or(System::Unknown, System::Unnamed);
    };
    let facts = &host.facts;
    let Some(checkout) = &facts.generation else { return System::NoCheckout(now) };
    if !checkout.is(now.commit) {
        return System::NotSwitched(now);
    }
    if differ(now.lock_hash, facts.lock_hash.as_ref()) {
        return System::LockNotSwitched(now);
    }
    if differ(now.system_path, facts.system_path.as_deref()) {
        return System::ChangedOutside(now);
    }
    System::Current(now)
}

fn tests(host: &HostRecord) -> Tests<'_> {
    if host.facts.tests == Some(0) {
        return Tests::None;
    }
    match &host.history.last_test {
        None => Tests::NeverRan,
        Some(run) if run.total == 0 && run.ok => {
            // None then; there may be some by now.
            if host.facts.tests.is_some() { Tests::NeverRan } else { Tests::None }
        }
        Some(run) if !is_of_deployed(run, host) => Tests::OtherState(run),
        Some(run) if run.ok => Tests::Passed(run),
        Some(run) => Tests::Failed(run),
    }
}

/// Whether a test run speaks of what is deployed and runs now.
fn is_of_deployed(run: &TestRun, host: &HostRecord) -> bool {
    let (then, now) = (run.system_path.as_deref(), host.facts.system_path.as_deref());
    if differ(then, now) {
        return false;
    }
    match (&run.commit, deployed(host)) {
        (Some(then), Some(now)) => then.is(now.commit),
        (Some(_), None) => false,
        // The run could not name a commit; the same system is proof enough.
        (None, Some(_)) => then.is_some() && now.is_some(),
        (None, None) => true,
    }
}

/// Whether both are known and not the same.
fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
}
