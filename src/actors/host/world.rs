//! What hosts' actors know of the others: where records and facts go, and whom to ask. The others are functions, so
//! that a host knows neither the sync actor nor the remote, and a test can be all of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::Settings;
use nixfleet_model::wake::Mac;
use nixfleet_protocol::{CommandId, Commit, HostId};

use crate::actors::clock::Clock;
use crate::actors::store::StoreHandle;

/// What all hosts' actors need.
pub struct World {
    /// What all hosts share.
    pub settings: Arc<Settings>,
    /// Where records go.
    pub store: StoreHandle,
    /// Where facts go: to the sync actor.
    pub publish: Box<dyn Fn(Vec<StateChange>) + Send + Sync>,
    /// Asks the remote again. The answer is [`crate::actors::hosts::Msg::RemoteAsked`], behind what the remote said.
    pub ask_remote: Box<dyn Fn(AskRemote) + Send + Sync>,
    /// Tells the remote of a commit that a host reported.
    pub interest: Box<dyn Fn(Commit) + Send + Sync>,
    /// Sends magic packets to machines that sleep.
    pub wake: Box<dyn Fn(Vec<Mac>) + Send + Sync>,
    /// Told when nothing more is expected for a command's log: the janitor compresses it.
    pub log_over: Box<dyn Fn(HostId, CommandId) + Send + Sync>,
    /// Where the logs lie.
    pub data_dir: PathBuf,
    /// The time.
    pub clock: Clock,
}

/// A question to the remote.
pub struct AskRemote {
    /// How long it may take.
    pub within: Duration,
    /// To be called when it has ended, with or without success, behind [`crate::actors::hosts::Msg::RemoteChanged`].
    pub done: Box<dyn FnOnce() + Send>,
}
