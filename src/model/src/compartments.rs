//! The five lights of a host: one pure function of what is known of the host, the remote, the command that
//! runs and the time. The page, the API, the command line and the checks all take its answer.
//!
//! ```text
//! Sight ── seen ──▶ Seen (what is the case) ──▶ agent, checkout, system, tested ──▶ Lights (colour, sentence, click)
//!                     └──────────────────────▶ checks: a refusal can't differ from a colour
//! ```
//!
//! Within a light the order is: working, unknown, error, outdated, ok. Sentences name moments, never ages: a
//! light changes when something happened, not because time went by.

use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Action, Light, LightStatus, Lights};

use crate::command::Command;
use crate::host::HostRecord;
use crate::ops::{Compartment, spec};
use crate::remote::RemoteState;

pub(crate) mod actions;
mod agent;
mod checkout;
pub(crate) mod possible;
pub(crate) mod seen;
pub(crate) mod sentence;

mod system;
mod tested;
mod version;

pub use self::sentence::moment;

pub use seen::{DeployedNow, Witness, deployed};

/// Everything that the lights depend on.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What is known of the host.
    pub host: &'a HostRecord,
    /// Its command that is not over.
    pub running: Option<&'a Command>,
    /// The desired state.
    pub remote: &'a RemoteState,
    /// The dashboard's version.
    pub server_version: &'a str,
    /// Now.
    pub now: Time,
}

impl<'a> Sight<'a> {
    /// The command that is not over, if it is not.
    pub(crate) fn open(&self) -> Option<&'a Command> {
        self.running.filter(|command| !command.state.is_final())
    }
}

/// The five lights.
pub fn lights(sight: &Sight<'_>) -> Lights {
    let seen = seen::Seen::of(sight);
    let lit = |compartment, otherwise: Light| working(sight, compartment).unwrap_or(otherwise);
    Lights {
        agent: lit(Compartment::Agent, agent::light_of(sight)),
        git: lit(Compartment::Git, checkout::git_light(&seen.git)),
        lock: lit(Compartment::Lock, checkout::lock_light(&seen)),
        system: lit(Compartment::System, system::light_of(&seen)),
        tests: lit(Compartment::Tests, tested::light_of(&seen)),
    }
}

/// Blue: a command of this compartment is not over.
fn working(sight: &Sight<'_>, compartment: Compartment) -> Option<Light> {
    let command = sight.open().filter(|command| spec(command.op).compartment == Some(compartment))?;
    Some(Light {
        status: LightStatus::Working,
        message: sentence::running(command),
        action: actions::progress(command.id),
        also: actions::stop_of(command).into_iter().collect(),
    })
}

/// A light with nothing more to offer than its click.
fn light(status: LightStatus, message: impl Into<String>, action: Action) -> Light {
    Light { status, message: message.into(), action, also: Vec::new() }
}

/// The same light with more to offer.
fn also(mut light: Light, more: impl IntoIterator<Item = Action>) -> Light {
    light.also.extend(more);
    light
}

#[cfg(test)]
pub(crate) mod tests;
