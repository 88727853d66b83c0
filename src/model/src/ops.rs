//! The op registry: every op of the product, defined once. The API, the page's menus, the command line, the
//! pipelines, the checks and the life of a command read it; nobody has a list of their own.
//!
//! The entries stand in `entries.rs`, one for each [`Op`], in a match without a wildcard: an op without an
//! entry does not compile. The pipelines are data too; runs of them are not this room's business.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Action, ActionKind, OpEntry};

mod args;
mod entries;
mod pipelines;

pub use args::Arg;
pub use entries::spec;
pub(crate) use pipelines::{MERGE_DEPLOY, PULL_SWITCH, UPDATE_AGENT};
pub use pipelines::{Pipeline, pipeline, pipelines};

/// How long an agent may take to come back after a switch, on top of the hard limit.
pub const RECONNECT: Duration = Duration::from_secs(90);

/// How many reboots of one host an hour allows.
pub const REBOOTS_AN_HOUR: u32 = 5;

/// Where an op runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunsOn {
    /// On the host, by its agent.
    Agent,
    /// In the dashboard.
    Dashboard,
}

impl RunsOn {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Dashboard => "dashboard",
        }
    }
}

/// A condition that must hold before an op starts. They are looked at in the order of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreCheck {
    /// The host's agent is linked (`host_offline`).
    Online,
    /// The agent knows the op (`unsupported_by_agent`).
    Supported,
    /// Nothing runs on the host, and no run owns it (`host_busy`).
    Idle,
    /// The remote can be read (`remote_unavailable`).
    RemoteReadable,
    /// The checkout is not at the remote's head already (`already_current`); `force` skips it.
    NotPulled,
    /// The lock is not behind the remote's (`lock_behind`); `force` skips it.
    LockNotBehind,
    /// The checkout is not what is deployed already (`already_current`); `force` skips it.
    NotSwitched,
    /// There is a generation to go back to (`no_previous_generation`).
    EarlierGeneration,
    /// The host's own configuration allows it (`exec_disabled`).
    ExecAllowed,
    /// Not too many reboots within the hour (`too_many_reboots`).
    FewReboots,
    /// A TOTP code proves the person (`totp_required`, `totp_invalid`, `totp_not_configured`).
    Totp,
    /// A pull request waits and can be merged (`no_pending_pr`).
    PullRequest,
    /// A pull request was merged by us (`nothing_to_revert`).
    MergedByUs,
    /// No run owns it (`host_busy`).
    NotInRun,
    /// The host's agent is not linked (`host_online`).
    Offline,
    /// A hardware address of the host is known (`mac_unknown`).
    MacKnown,
}

/// What success of an op means, looked at when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostCheck {
    /// Nothing but that it ended.
    Nothing,
    /// Exit code 0.
    ExitZero,
    /// The checkout is the remote's head.
    CheckoutAtHead,
    /// Exit code 0, and what is deployed is the checkout.
    DeployedIsCheckout,
    /// Every test passed.
    TestsPassed,
    /// Exit code 0, and the system path changed back.
    SystemChangedBack,
    /// Another process of the agent registered.
    NewInstance,
    /// An agent registered with another boot id.
    NewBoot,
    /// The remote was asked again.
    RemoteAsked,
    /// A plan was reported.
    PlanReported,
    /// The lock changed.
    LockChanged,
    /// The pull request is merged.
    Merged,
    /// The revert is on the branch.
    Reverted,
    /// The host registered.
    Registered,
}

/// The five lights by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compartment {
    /// The agent's version.
    Agent,
    /// The checkout.
    Git,
    /// The lock.
    Lock,
    /// What is deployed.
    System,
    /// The tests of what is deployed.
    Tests,
}

/// Which scope of an API token an op needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everyday operation.
    Operate,
    /// What could do anything.
    Admin,
}

impl Scope {
    /// The word of the scope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// What an op is.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table: each stands for itself")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpSpec {
    /// Its id.
    pub id: Op,
    /// What a button says.
    pub label: &'static str,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// Where it runs.
    pub runs_on: RunsOn,
    /// Whether it is about a host; else `host` of its commands is null.
    pub per_host: bool,
    /// What must hold before, in the order in which it is looked at.
    pub pre: &'static [PreCheck],
    /// What success means.
    pub post: PostCheck,
    /// After how long a person is warned; none: never.
    pub warn: Option<Duration>,
    /// After how long a person is asked; none: no limit.
    pub hard: Option<Duration>,
    /// May it be retried.
    pub retry: bool,
    /// Does it need a TOTP code.
    pub totp: bool,
    /// Does it interrupt the agent's link.
    pub interrupts_link: bool,
    /// Is it confirmed first, and with which words. `{host}` stands for the host's name.
    pub confirm: Option<&'static str>,
    /// The light that is blue while it runs.
    pub compartment: Option<Compartment>,
    /// The word by which a v2 agent knows it; none: it does not.
    pub v2: Option<&'static str>,
    /// Whether it is offered for a selection of hosts.
    pub bulk: bool,
    /// Whether it takes the host's one slot.
    pub takes_slot: bool,
    /// Which scope it needs.
    pub scope: Scope,
    /// What it takes; a form asks for it.
    pub args: &'static [Arg],
}

impl OpSpec {
    /// As the API lists it.
    pub fn entry(&self) -> OpEntry {
        OpEntry {
            id: self.id,
            label: self.label.to_owned(),
            description: self.description.to_owned(),
            runs_on: self.runs_on.as_str().to_owned(),
            warn_s: self.warn.map(|span| span.as_secs()),
            hard_s: self.hard.map(|span| span.as_secs()),
            retry: self.retry,
            totp: self.totp,
            interrupts_link: self.interrupts_link,
            confirm: self.confirm.map(str::to_owned),
            args: self.args.iter().map(Arg::entry).collect(),
        }
    }

    /// The button that starts it.
    pub fn action(&self) -> Action {
        Action {
            kind: ActionKind::Op,
            op: Some(self.id),
            pipeline: None,
            command_id: None,
            label: self.label.to_owned(),
            args: None,
        }
    }

    /// The sentence that a person confirms on this host.
    pub fn confirm_on(&self, host: &str) -> Option<String> {
        self.confirm.map(|words| words.replace("{host}", host))
    }

    /// Whether an agent that speaks this protocol is asked to run it. What our own agents lack they say themselves.
    pub const fn known_to(&self, protocol: u32) -> bool {
        match self.runs_on {
            RunsOn::Dashboard => true,
            RunsOn::Agent => protocol >= 3 || self.v2.is_some(),
        }
    }
}

/// Every op, in the order in which people meet them.
pub fn registry() -> impl Iterator<Item = &'static OpSpec> {
    Op::ALL.iter().map(|op| spec(*op))
}

#[cfg(test)]
mod tests;
