//! Who may speak for a host: what a token allows, and of two machines with one hostname, who keeps the name. Decisions
//! only; the links actor pings and closes.
//!
//! ```text
//! a token bound to another host, a name that is none → Denied
//! nobody speaks for the host                → Accept
//! the same journal: one machine, come back  → Replace, at once
//! another journal, or an old agent          → PingFirst: an answer within 3 s keeps the old link, silence gives it up
//! ```

use std::time::Duration;

use nixfleet_protocol::agent::Register;
use nixfleet_protocol::{HostId, JournalId};

/// How long the old link has to answer the ping.
pub const PING_WITHIN: Duration = Duration::from_secs(3);

/// As whom an agent's token lets it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentIdentity {
    /// With the host's own token: it can be no other host.
    Host(HostId),
    /// With the shared token: the door has made sure that it may be used.
    Shared,
}

/// Why an agent may not be the host that it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is wrong.
    pub wrong: Wrong,
    /// The host whose business it is.
    pub host: Option<HostId>,
    /// For people.
    pub reason: String,
}

/// What is wrong with an agent that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What it calls itself is no name.
    Name,
    /// Its token is not for this name.
    Token,
}

/// Whether an agent may be the host that it says it is. `has_token`: whether a host ever had a token of its own.
pub fn allowed(
    hostname: &str,
    who: &AgentIdentity,
    has_token: &(impl Fn(&HostId) -> bool + ?Sized),
) -> Result<HostId, Denied> {
    let host: HostId =
        hostname.parse().map_err(|error| Denied { wrong: Wrong::Name, host: None, reason: format!("{error}") })?;
    let wrong = Wrong::Token;
    match who {
        AgentIdentity::Host(bound) if *bound == host => Ok(host),
        AgentIdentity::Host(bound) => {
            let reason = format!("its token is bound to {bound}, it calls itself {host}");
            Err(Denied { wrong, host: Some(bound.clone()), reason })
        }
        AgentIdentity::Shared if has_token(&host) => {
            let reason = format!("{host} has a token of its own and can't come with the shared one");
            Err(Denied { wrong, host: Some(host), reason })
        }
        AgentIdentity::Shared => Ok(host),
    }
}

/// By what an agent claims a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its state directory; old agents have none, and no two of them can be told apart.
    pub journal: Option<JournalId>,
}

impl Claim {
    /// The claim of a register.
    pub fn of(register: &Register) -> Self {
        Self { journal: register.journal }
    }
}

/// What to do with an agent that registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The name is free: let it in.
    Accept,
    /// It is the same machine: close the old link and let it in.
    Replace,
    /// It may be another machine: ping the old link, then ask [`after_ping`].
    PingFirst,
}

/// What to do with an agent that waited for the old link's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The old link is alive: close the new one with 4009, and write it to the audit log.
    Refuse,
    /// The old link is dead: close it and let the new one in.
    Replace,
}

/// Decides about an agent that registered, while `old` speaks for the host.
pub fn decide(old: Option<&Claim>, new: &Claim) -> Decision {
    let Some(old) = old else { return Decision::Accept };
    match (old.journal, new.journal) {
        (Some(old), Some(new)) if old == new => Decision::Replace,
        (Some(_) | None, Some(_) | None) => Decision::PingFirst,
    }
}

/// Decides when the old link was pinged.
pub const fn after_ping(answered: bool) -> Verdict {
    if answered { Verdict::Refuse } else { Verdict::Replace }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00000000-0000-4000-8000-00000000000a";
    const B: &str = "00000000-0000-4000-8000-00000000000b";

    fn claim(journal: &str) -> Claim {
        Claim { journal: journal.parse().ok() }
    }

    #[test]
    fn a_token_is_good_for_its_own_host_alone() {
        let bound = |name: &str| AgentIdentity::Host(name.parse().unwrap());
        let shared = || AgentIdentity::Shared;
        for (hostname, who, outcome) in [
            ("hsb0", bound("hsb0"), Ok("hsb0")),
            ("HSB0", bound("hsb0"), Ok("hsb0")),
            ("hsb1", bound("hsb0"), Err((Wrong::Token, Some("hsb0")))),
            ("free", shared(), Ok("free")),
            ("owned", shared(), Err((Wrong::Token, Some("owned")))),
            ("", shared(), Err((Wrong::Name, None))),
            ("../etc", bound("hsb0"), Err((Wrong::Name, None))),
        ] {
            let allowed = allowed(hostname, &who, &|host: &HostId| host.as_str() == "owned");
            let seen = allowed.as_ref().map(HostId::as_str);
            let seen = seen.map_err(|denied| (denied.wrong, denied.host.as_ref().map(HostId::as_str)));
            assert_eq!(seen, outcome, "{hostname} {who:?}");
        }
    }

    #[test]
    fn one_machine_comes_back_at_once_and_two_are_told_apart() {
        for (old, new, decision) in [
            (None, A, Decision::Accept),
            (None, "", Decision::Accept),
            (Some(A), A, Decision::Replace),
            (Some(A), B, Decision::PingFirst),
            (Some(A), "", Decision::PingFirst),
            (Some(""), A, Decision::PingFirst),
            (Some(""), "", Decision::PingFirst),
        ] {
            assert_eq!(decide(old.map(claim).as_ref(), &claim(new)), decision, "{old:?} then {new:?}");
        }
    }

    #[test]
    fn a_live_link_keeps_its_name() {
        assert_eq!(after_ping(true), Verdict::Refuse);
        assert_eq!(after_ping(false), Verdict::Replace);
    }

    #[test]
    fn a_claim_is_what_the_register_says() {
        let register = Register { journal: A.parse().ok(), ..Register::default() };
        assert_eq!(Claim::of(&register), claim(A));
        assert_eq!(Claim::of(&Register::default()), claim(""));
    }
}
