//! A host as everyone sees it, with what is refused on it now and why: computed in one place, from the
//! record, the remote, the open command and the time. Commands and the remote in the API's shape too.

use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::agent::{Disk, Metrics};
use nixfleet_protocol::api::{self, Action, Host, HostState, Lights, LoadHistory};
use nixfleet_protocol::{HostId, Op, Time};
use serde_json::{Map, Value};

use crate::checks::{Refusal, Request, Standing, TotpProof, check_seen, unsupported};
use crate::command::Command;
use crate::compartments::seen::{Seen, System, deployed_record};
use crate::compartments::{lights, possible, sentence};
use crate::host::DeployedRecord;
use crate::liveness;
use crate::ops::registry;
use crate::remote::{Readability, RemoteState};

/// How long a reboot counts: so many within this time are the most.
pub(crate) const REBOOT_COUNTS: Duration = Duration::from_hours(1);

/// What the page shows and the checks look at: one thing, so that the two can't differ.
#[derive(Clone, Debug, PartialEq)]
pub struct HostView {
    /// As it stands in the API.
    pub host: Arc<Host>,
    /// Ops of the registry that would be refused now, and why. Stays off the wire; the page shows it.
    pub refused: Arc<[Refused]>,
    /// What runs against what was deployed from here, whatever the remote wants. Stays off the wire; runs look at it.
    pub system: SystemNow,
}

/// What runs on a host against what was deployed from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemNow {
    /// Nobody can say.
    #[default]
    Unknown,
    /// The checkout is deployed, and it runs.
    Current,
    /// Something else is checked out than what is deployed.
    NotSwitched,
    /// Something else runs than what was deployed.
    ChangedOutside,
    /// The last switch failed.
    Failed,
}

impl From<System<'_>> for SystemNow {
    fn from(system: System<'_>) -> Self {
        match system {
            System::Unknown | System::Unnamed(_) | System::NoCheckout(_) => Self::Unknown,
            System::Failed(_) => Self::Failed,
            System::NotSwitched(_) | System::LockNotSwitched(_) => Self::NotSwitched,
            System::ChangedOutside(_) => Self::ChangedOutside,
            System::Current(_) => Self::Current,
        }
    }
}

/// What of a view is computed from all that is known of a host. Many hosts have the same: cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) lights: Arc<Lights>,
    pub(crate) offers: Arc<[Op]>,
    pub(crate) refused: Arc<[Refused]>,
    pub(crate) system: SystemNow,
}

/// An op that would be refused now. There is a handful for each host, so it is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub op: Op,
    /// For programs.
    pub code: &'static str,
    /// For people, one sentence.
    pub message: Box<str>,
}

/// What stands beside a light's own action is left out where nothing that a person can wait for makes it possible.
fn without_dead_ends(mut lights: Lights, refused: &[Refused]) -> Lights {
    let dead =
        |action: &Action| refused.iter().any(|it| action.op == Some(it.op) && it.code == "no_previous_generation");
    for light in [&mut lights.agent, &mut lights.git, &mut lights.lock, &mut lights.system, &mut lights.tests] {
        light.also.retain(|action| !dead(action));
    }
    lights
}

/// Lights, offers and refusals as they are now.
pub(crate) fn judge(standing: &Standing<'_>) -> Judged {
    let sight = &standing.sight;
    let seen = Seen::of(sight);
    let (offers, refused) = offers(standing, &seen);
    let lights = without_dead_ends(possible::of_lights(lights(sight), sight.host), &refused);
    Judged { lights: Arc::new(lights), offers, refused, system: seen.system.into() }
}

/// Until when [`judge`] says what it says now, if nothing but the load, the free space and the moment when the host
/// was last heard changes; none: for good. `reboots`: when reboots were sent, the hour's at least.
pub(crate) fn judged_until(remote: &RemoteState, reboots: &[Time], now: Time) -> Option<Time> {
    let forgotten = reboots.iter().map(|at| at.plus(REBOOT_COUNTS)).filter(|then| now < *then);
    forgotten.chain(remote.next_change(now)).min()
}

/// A host as everyone sees it. `broken`: why its actor keeps failing.
pub fn host_view(standing: &Standing<'_>, broken: Option<&str>) -> HostView {
    shown(standing, broken, judge(standing))
}

/// The same, with what was judged before.
pub(crate) fn shown(standing: &Standing<'_>, broken: Option<&str>, judged: Judged) -> HostView {
    let sight = &standing.sight;
    let (record, facts, chosen) = (sight.host, &sight.host.facts, &sight.host.chosen);
    let Judged { lights, offers, refused, system } = judged;
    let host = Host {
        id: record.id.clone(),
        platform: facts.platform,
        host_type: facts.host_type,
        state: liveness::state(record, standing.linked, standing.daemon_started, sight.now),
        last_seen: facts.last_seen,
        agent_version: facts.agent_version.clone(),
        agent_protocol: facts.protocol,
        os_version: facts.os_version.clone(),
        nixpkgs_version: facts.nixpkgs_version.clone(),
        generation: facts.generation.clone(),
        lock_hash: facts.lock_hash.clone(),
        deployed: deployed_record(record).map(|(deployed, _)| deployed_view(deployed)),
        location: facts.location,
        device_type: facts.device_type,
        color: [&chosen.color, &facts.theme_color].into_iter().flatten().find_map(|text| color(text)),
        tags: chosen.tags.as_ref().unwrap_or(&facts.tags).clone(),
        comment: chosen.comment.clone(),
        metrics: facts.metrics,
        disk: facts.disk,
        reboot_required: facts.reboot_required,
        failed_units: facts.failed_units.clone(),
        repo_error: facts.repo_error.clone().filter(|why| !why.is_empty()),
        lights,
        command: sight.open().map(|open| Box::new(command_view(open))),
        offers,
        broken: broken.map(str::to_owned),
        past: Arc::clone(&record.load.past),
        generations: Arc::clone(&facts.generations),
    };
    HostView { host: Arc::new(host), refused, system }
}

/// What a heartbeat without news changes of a host: its load, its free space, when it was heard and that it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// Whose.
    pub host: HostId,
    /// Whether it was there, as that was told before.
    before: HostState,
    state: HostState,
    last_seen: Option<Time>,
    metrics: Option<Metrics>,
    disk: Option<Disk>,
    past: Arc<LoadHistory>,
}

impl Beat {
    /// Whether the host is there.
    pub(crate) fn state(&self) -> HostState {
        self.state
    }

    /// Whether it came or went since it was told before.
    pub fn is_news(&self) -> bool {
        self.state != self.before
    }

    /// Whether this is how the host stands already.
    pub(crate) fn is_of(&self, host: &Host) -> bool {
        (self.state, self.last_seen, self.metrics, self.disk) == (host.state, host.last_seen, host.metrics, host.disk)
            && self.past == host.past
    }

    /// Brings a host to it.
    pub(crate) fn tell(self, told: &mut Host) {
        let Self { host: _, before: _, state, last_seen, metrics, disk, past } = self;
        (told.state, told.last_seen, told.metrics, told.disk, told.past) = (state, last_seen, metrics, disk, past);
    }
}

/// The part of [`shown`] that a heartbeat without news changes. `before`: whether the host was there, as told last.
pub(crate) fn beat(standing: &Standing<'_>, before: HostState) -> Beat {
    let record = standing.sight.host;
    Beat {
        host: record.id.clone(),
        before,
        state: liveness::state(record, standing.linked, standing.daemon_started, standing.sight.now),
        last_seen: record.facts.last_seen,
        metrics: record.facts.metrics,
        disk: record.facts.disk,
        past: Arc::clone(&record.load.past),
    }
}

/// The ops that would start now, and the others with the reasons. A TOTP code counts as given where the
/// dashboard can look at one: it is asked for when the op is clicked.
fn offers(standing: &Standing<'_>, seen: &Seen<'_>) -> (Arc<[Op]>, Arc<[Refused]>) {
    let totp = if standing.totp_configured { TotpProof::Valid } else { TotpProof::NotConfigured };
    let request = Request { force: false, totp, run_id: None };
    let (mut offered, mut refused) = (Vec::new(), Vec::new());
    for spec in registry().filter(|spec| spec.per_host) {
        match check_seen(spec.id, &request, standing, seen) {
            Ok(()) => offered.push(spec.id),
            // That the agent can't do it at all comes first, also while it is away.
            Err(refusal) => {
                let Refusal { code, message, .. } = unsupported(spec.id, standing).unwrap_or(refusal);
                refused.push(Refused { op: spec.id, code, message: message.into() });
            }
        }
    }
    (offered.into(), refused.into())
}

fn deployed_view(record: &DeployedRecord) -> api::Deployed {
    api::Deployed {
        commit: record.commit.clone(),
        lock_hash: record.lock_hash.clone(),
        system_path: record.system_path.clone(),
        at: record.at,
    }
}

/// `#rrggbb` in lower case; none where it is no colour. What people and agents say ends in a style sheet.
pub fn color(text: &str) -> Option<String> {
    let digits = text.strip_prefix('#')?;
    (digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// A command as everyone sees it.
pub fn command_view(command: &Command) -> api::Command {
    api::Command {
        id: command.id,
        host: command.host.clone(),
        op: command.op,
        args: object(&command.args).unwrap_or_else(|| Value::Object(Map::new())),
        state: command.state,
        code: command.code.clone(),
        message: command.message.clone(),
        actor: command.actor.clone(),
        force: command.force,
        run_id: command.run_id,
        created_at: command.created_at,
        sent_at: command.sent_at,
        started_at: command.started_at,
        finished_at: command.finished_at,
        waiting_since: command.life.link_down_at,
        exit_code: command.exit_code,
        stage: command.life.stage.clone(),
        log_bytes: command.log_bytes,
        progress: command.progress.clone(),
        details: command.details.as_deref().and_then(object).unwrap_or_default(),
    }
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// The remote as everyone sees it. Its `error` stands there exactly while Git is red for it.
pub fn remote_view(remote: &RemoteState, now: Time) -> api::Remote {
    let desired = remote.desired.as_ref();
    let error = match remote.readability(now) {
        Readability::Unreadable(failing) => Some(format!("{}.", sentence::unreadable(failing))),
        Readability::NotConfigured | Readability::NotYet | Readability::Readable(_) => None,
    };
    api::Remote {
        source: remote.source.clone(),
        branch: remote.branch.clone(),
        commit: desired.map(|desired| desired.commit.clone()),
        subject: desired.map(|desired| desired.subject.clone()),
        author: desired.map(|desired| desired.author.clone()),
        committed_at: desired.map(|desired| desired.committed_at),
        lock_hash: desired.and_then(|desired| desired.lock_hash.clone()),
        read_at: remote.read_at,
        error,
        pull_request: remote.pull_request.clone(),
        pull_request_error: remote.pull_request_error.as_ref().map(|why| format!("{why}.")),
        merged: remote.merged.clone(),
    }
}

#[cfg(test)]
mod tests;
