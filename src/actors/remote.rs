//! The configuration repository's desired state: asked every interval, and at once when somebody wants to know.
//!
//! Owns what is known of the remote; the mirror on disk is its source's. The root spawns it, hosts and web ask
//! it. Nothing waits in `handle`: polls, relations and commits are tasks that cast what came out of them.
//! When it dies: the last good answer comes back from the store, with its age; an op that was open begins again,
//! and looks first whether it is done. What nobody waits for any more is killed, the git processes too.
//!
//! ```text
//! Ask, Interest, timer ──► polling (pure) ──► task: source ──► Polled ────────┐
//! Webhook, timer ────────► polling (pure) ──► task: forge ───► UpdatesRead ───┤
//! Submit ──► wish (pure) ──► record ────────► task: forge ───► Changed ───────┤
//!          hosts ◄── tell ◄─┐                                                 ▼
//!          who asked ◄──────┴── durable where it must be ◄── store ◄── record, events, changes
//! ```

pub mod address;
mod folder;
pub mod forge;
mod git;
pub mod github;
mod job;
pub mod mirror;
pub mod ops;
pub mod source;
mod state;
#[cfg(test)]
mod tests;
pub mod version;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::remote::RemoteState;
use nixfleet_model::remote::updates::Found;
use nixfleet_protocol::{CommandId, Commit};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

pub use self::address::Address;
use self::forge::Forge;
use self::github::{Github, GithubSettings};
use self::mirror::Mirror;
pub use self::mirror::MirrorSettings;
pub use self::ops::Wanted;
use self::source::{Answer, Related, Source, Unreadable};
pub use self::state::State;
pub use self::state::ops::Change;
use self::version::VersionJson;
use super::slot::{Slot, Unanswered};
use super::store::{Loaded, StoreError, StoreHandle};

/// What the remote answers to.
#[derive(Debug)]
pub enum Msg {
    /// Ask the remote now.
    Ask {
        /// Answered when a poll that began after the question has ended, well or badly, and hosts have been told.
        reply: RpcReplyPort<()>,
    },
    /// A host reported this commit: how does it stand to the head?
    Interest(Commit),
    /// Somebody wants an op that concerns no host.
    Submit {
        /// Which, and how.
        wanted: Box<Wanted>,
        /// Answered when the command is on disk.
        reply: RpcReplyPort<Submitted>,
    },
    /// The store said whether it knows the command's id.
    Found {
        /// Number of the question.
        number: u64,
        /// What is wanted.
        wanted: Box<Wanted>,
        /// What the store has.
        found: Result<Option<Box<Command>>, StoreError>,
        /// Who waits.
        reply: RpcReplyPort<Submitted>,
    },
    /// The forge answered a `merge-pr` or a `revert-pr`; nothing: that panicked.
    Changed(CommandId, Option<Change>),
    /// The head may show by now what this command did.
    LookAtHead(CommandId),
    /// The timer of this generation is due: look for updates.
    UpdatesDue(u64),
    /// The look for updates with this number ended; nothing: it panicked.
    UpdatesRead(u64, Option<Result<Found, Unreadable>>),
    /// The forge may know by now whether the update can be merged.
    UpdatesAgain,
    /// A webhook came, signed as it should be.
    Webhook {
        /// The id of its delivery.
        delivery: Option<String>,
        /// What it is about.
        about: About,
    },
    /// The sync actor or the hosts were restarted: tell everything again.
    Republish,
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
    /// What the store has, or why it has nothing to say.
    Loaded(Result<Box<Loaded>, StoreError>),
    /// The timer of this generation is due.
    Due(u64),
    /// The poll with this number ended; nothing: it panicked.
    Polled(u64, Option<Result<Answer, Unreadable>>),
    /// Commits were related to this head; nothing: that panicked.
    Related(Commit, Option<Related>),
    /// A commit to the store ended.
    Committed(Result<(), StoreError>),
    /// A good answer gets too old about now, or a command takes long.
    Look(Option<CommandId>),
}

/// What a webhook is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The tracked branch may have moved, and with it pull requests.
    Everything,
    /// This branch was pushed to.
    Branch(String),
    /// A pull request alone.
    PullRequests,
}

/// How the remote is reached. Cheap to clone; the source outlives the actor.
#[derive(Clone)]
pub struct Settings {
    /// Where it is read from, without anything secret.
    pub location: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// How often it is asked.
    pub interval: Duration,
    /// What stands behind it; none: no remote is configured.
    pub source: Option<Arc<dyn Source>>,
    /// What has its pull requests; none: there are none to see.
    pub forge: Option<Arc<dyn Forge>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("location", &self.location)
            .field("branch", &self.branch)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// No remote is configured.
    pub fn none(branch: impl Into<String>, interval: Duration) -> Self {
        Self { location: None, branch: branch.into(), interval, source: None, forge: None }
    }

    /// A git repository, by a mirror of our own.
    #[must_use]
    pub fn with_mirror(mut self, mirror: MirrorSettings) -> Self {
        self.location = Some(mirror.address.location().to_owned());
        self.source = Some(Arc::new(Mirror::new(mirror)));
        self
    }

    /// A repository on GitHub: its pull requests, and its head where nothing else says that.
    #[must_use]
    pub fn with_github(mut self, settings: GithubSettings) -> Self {
        let location = settings.location();
        let github = Arc::new(Github::new(settings));
        if self.source.is_none() {
            self.location = Some(location);
            self.source = Some(Arc::clone(&github) as _);
        }
        self.forge = Some(github);
        self
    }

    /// A `version.json`.
    #[must_use]
    pub fn with_version(mut self, url: &str) -> Self {
        self.location = Some(url.split('?').next().unwrap_or_default().to_owned());
        self.source = Some(Arc::new(VersionJson::new(url.to_owned(), self.branch.clone())));
        self
    }
}

/// Tells sync of changes that need no disk.
pub type Publish = Box<dyn Fn(Vec<StateChange>) + Send + Sync>;
/// Tells the hosts what the remote is now.
pub type Tell = Box<dyn Fn(Arc<RemoteState>) + Send + Sync>;

/// What it starts with.
pub struct Args {
    /// How the remote is reached.
    pub settings: Settings,
    /// Where the last good answer is kept.
    pub store: StoreHandle,
    /// For changes that need no disk.
    pub publish: Publish,
    /// For the hosts.
    pub tell: Tell,
}

/// How long the acceptance of a command may take.
const ACCEPT: Duration = Duration::from_secs(10);

/// The remote, for those who use it.
#[derive(Clone, Debug)]
pub struct RemoteHandle {
    slot: Slot<Msg>,
}

impl RemoteHandle {
    /// Over the place where the remote's actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Has the remote asked now and waits for the end of it, good or bad; hosts were told by then. Who can't wait
    /// longer goes by what is known.
    pub async fn ask(&self, within: Duration) -> Result<(), Unanswered> {
        self.slot.call(|reply| Msg::Ask { reply }, within).await
    }

    /// Has a commit related to the head; hosts are told when it is.
    pub fn interest(&self, commit: Commit) -> bool {
        self.slot.cast(Msg::Interest(commit))
    }

    /// Starts an op that concerns no host. A command whose id is known is answered with itself, whatever it became:
    /// also when it was refused, that is `Accepted` with a command that is `BLOCKED`.
    pub async fn submit(&self, wanted: Wanted) -> Submitted {
        let asked = self.slot.call(|reply| Msg::Submit { wanted: Box::new(wanted), reply }, ACCEPT).await;
        asked.unwrap_or_else(|error| Submitted::Unavailable(error.to_string()))
    }

    /// A webhook came. `false`: the remote is being restarted, and asks by itself when it is back.
    pub fn webhook(&self, delivery: Option<String>, about: About) -> bool {
        self.slot.cast(Msg::Webhook { delivery, about })
    }
}

/// The actor.
pub struct Remote;

impl Actor for Remote {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let state = State::new(args);
        state.load(&myself, Duration::ZERO);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        if let Some(message) = state.not_too_early(message) {
            state.take(&myself, message)?;
        }
        state.settle(&myself);
        Ok(())
    }
}
