//! Pre-checks: whether an op may start on a host now, and if not, why and what to do instead.
//!
//! Pure functions of what the lights see, so a refusal can't contradict a colour. Which checks an op has, and
//! in which order, stands in the registry; here is what each of them asks.

use nixfleet_protocol::api::Action;
use nixfleet_protocol::{CommandId, Op, RunId, Time};

use crate::compartments::seen::Seen;
use crate::compartments::{Sight, possible};
use crate::host::HostRecord;
use crate::ops::{PreCheck, spec};

mod host;
mod remote;

/// The code of a refusal because the agent can't do it, whatever else is the case.
pub const UNSUPPORTED: &str = "unsupported_by_agent";
/// The code of a refusal because the host's own configuration forbids it.
pub const EXEC_DISABLED: &str = "exec_disabled";

/// Why an op was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason as a word: `host_offline`, `host_busy`, `remote_unavailable`, `already_current` …
    pub code: &'static str,
    /// One sentence: what is in the way, and what to do.
    pub message: String,
    /// What could be done instead.
    pub offer: Option<Action>,
    /// The command that is in the way.
    pub command_id: Option<CommandId>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), offer: None, command_id: None }
    }

    pub(crate) fn offering(mut self, action: Action) -> Self {
        self.offer = Some(action);
        self
    }

    fn because_of(mut self, command: CommandId) -> Self {
        self.command_id = Some(command);
        self
    }
}

/// What is known of the TOTP code that came with a request. The code itself was looked at, once, at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotpProof {
    /// None came.
    NotGiven,
    /// A good one came.
    Valid,
    /// A bad or used one came.
    Invalid,
    /// The dashboard has no TOTP secret.
    NotConfigured,
}

/// How an op is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Skip `already_current` and `lock_behind`, and nothing else.
    pub force: bool,
    /// The TOTP code.
    pub totp: TotpProof,
    /// The run that asks.
    pub run_id: Option<RunId>,
}

/// A host as it stands, for the checks and the view.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// What the lights see.
    pub sight: Sight<'a>,
    /// Its agent is linked.
    pub linked: bool,
    /// The run that owns it.
    pub run: Option<RunId>,
    /// How often it was rebooted from here within the last hour.
    pub reboots_last_hour: u32,
    /// When this daemon started.
    pub daemon_started: Time,
    /// The dashboard has a TOTP secret.
    pub totp_configured: bool,
}

/// Whether an op may start on this host now.
pub fn check(op: Op, request: &Request, standing: &Standing<'_>) -> Result<(), Refusal> {
    check_seen(op, request, standing, &Seen::of(&standing.sight))
}

/// The same for who asks about many ops at once.
pub(crate) fn check_seen(op: Op, request: &Request, standing: &Standing<'_>, seen: &Seen<'_>) -> Result<(), Refusal> {
    let spec = spec(op);
    let asked = spec.pre.iter().try_for_each(|pre| match pre {
        PreCheck::Online => host::online(standing),
        PreCheck::Supported => host::supported(spec, standing),
        PreCheck::Idle => host::idle(request, standing),
        PreCheck::RemoteReadable => remote::readable(standing.sight.remote, standing.sight.now),
        PreCheck::NotPulled => request.unless_forced(|| host::not_pulled(seen)),
        PreCheck::LockNotBehind => request.unless_forced(|| host::lock_not_behind(seen)),
        PreCheck::NotSwitched => request.unless_forced(|| host::not_switched(seen)),
        PreCheck::EarlierGeneration => host::earlier_generation(standing),
        PreCheck::ExecAllowed => host::exec_allowed(standing),
        PreCheck::FewReboots => host::few_reboots(standing),
        PreCheck::Totp => totp(request.totp),
        PreCheck::PullRequest => remote::pull_request(standing.sight.remote),
        PreCheck::MergedByUs => remote::merged_by_us(standing.sight.remote),
        PreCheck::NotInRun => host::not_in_run(request, standing),
        PreCheck::Offline => host::offline(op, standing),
        PreCheck::MacKnown => host::mac_known(standing),
    });
    asked
        .map_err(|refusal| Refusal { offer: refusal.offer.and_then(|offer| possible::of(offer, seen.host)), ..refusal })
}

/// Whether nothing runs on a host, and no other run owns it.
pub(crate) fn idle(request: &Request, standing: &Standing<'_>) -> Result<(), Refusal> {
    host::idle(request, standing)
}

/// Whether an op can be done at all by the agent of this host. What can't is not listed.
pub(crate) fn can(op: Op, host: &HostRecord) -> bool {
    host::names(spec(op), &host.facts) && spec(op).known_to(host.facts.protocol.unwrap_or(2))
}

/// The refusal of an op that the host's agent can't do, whatever else is the case.
pub(crate) fn unsupported(op: Op, standing: &Standing<'_>) -> Option<Refusal> {
    spec(op).pre.contains(&PreCheck::Supported).then(|| host::supported(spec(op), standing).err()).flatten()
}

/// Whether the remote is asked again, and the check made again, before this refusal counts: a pull is not
/// refused because of an answer that is up to a poll interval old.
pub fn asks_remote_first(op: Op, refusal: &Refusal) -> bool {
    op == Op::Pull && refusal.code == "already_current"
}

impl Request {
    fn unless_forced(&self, check: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.force { Ok(()) } else { check() }
    }
}

/// Whether a code proves the person.
pub fn totp(proof: TotpProof) -> Result<(), Refusal> {
    match proof {
        TotpProof::Valid => Ok(()),
        TotpProof::NotGiven => Err(Refusal::new("totp_required", "This needs a TOTP code: enter one.")),
        TotpProof::Invalid => Err(Refusal::new(
            "totp_invalid",
            "The TOTP code is wrong, or was used before: wait for the next one and enter that.",
        )),
        TotpProof::NotConfigured => Err(Refusal::new(
            "totp_not_configured",
            "This needs a TOTP code, and the dashboard has no TOTP secret: set NIXFLEET_TOTP_SECRET.",
        )),
    }
}

#[cfg(test)]
mod tests;
