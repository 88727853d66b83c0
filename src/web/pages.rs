//! The pages: pure functions from the fleet's state to HTML, for the first render and for the fragments of the
//! live page alike. The same template makes both, so they can't differ.
//!
//! Who talks to it: the HTTP routes ask for a whole page ([`fleet_page`] and its neighbours), the sync actor asks
//! for the pieces that a change touches ([`fragments()`], [`full_fragments`]). It holds no state, waits for nothing
//! and can't fail: what a template can't render is an empty text and a line in the log.
//!
//! ```text
//! State ──┐                      ┌─ fleet_page … ── whole page, with the session's CSRF token
//! ops ────┼── Fleet (borrowed) ──┤
//! refused ┘                      └─ fragments ───── [{id, place, html}], nothing of a session in them
//! ```
//!
//! Invariants:
//! - The page decides nothing: labels, confirmations and reasons come with [`Fleet`].
//! - A fragment is the element with its id exactly as a fresh render has it.
//! - Ids are `kind:name:part`; a colon can't be in a host's name, so two ids never meet.
//! - All text is escaped by askama; a link from outside is http or https; a colour from outside is `#rrggbb`.

mod assets;
mod button;
mod commands;
mod entry;
mod events;
mod filters;
mod fleet;
mod forms;
mod fragments;
mod graph;
mod host;
mod lights;
mod log;
mod notifications;
#[cfg(test)]
mod preview;
mod rollout;
mod row;
mod runs;
mod said;
#[cfg(test)]
mod sample;
mod selection;
mod settings;
mod shell;
#[cfg(test)]
mod tests;
mod update;
mod words;

use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::api::{Command, Host, OpEntry, PipelineEntry, Run};
use nixfleet_protocol::{CommandId, Epoch, HostId, Op, RunId, Time, Version};

pub use crate::actors::sync::PageKind;
pub use assets::{File, asset, asset_url};
pub(super) use button::QUICK;
pub use commands::command_page;
pub use entry::{ErrorPage, LoginPage, error_page, login_page};
pub use events::{EventsPage, events_page};
pub use fleet::fleet_page;
pub use fragments::{fragments, full_fragments};
pub use host::{HostPart, Stored, host_page, host_part};
pub use log::{log_head, log_rows};
pub use runs::run_page;
pub use settings::{SettingsPage, settings_page};

/// Everything that the pages read. Borrowed for one render, so it costs nothing to make.
#[derive(Clone, Copy)]
pub struct Fleet<'a> {
    /// The state at `version`, with the change already in it.
    pub state: &'a FleetState,
    /// The op registry: labels, confirmations, which ask for a code.
    pub ops: &'a [OpEntry],
    /// The pipelines that there are, those of the product first.
    pub pipelines: &'a [PipelineEntry],
    /// For a host the ops that would be refused now, and why, in one sentence each. Pure, and of the same view as
    /// the pre-checks. An op that is neither here nor in `Host::offers` is not shown.
    pub refused: &'a dyn Fn(&Host) -> Vec<(Op, String)>,
    /// The version of `state`.
    pub version: Version,
    /// The epoch that `version` counts in.
    pub epoch: Epoch,
    /// For "12 s ago"; the page counts on by itself.
    pub now: Time,
}

/// What belongs to one session and so stands in whole pages only.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The CSRF token of the session.
    pub csrf_token: &'a str,
}

impl Fleet<'_> {
    /// The host with this name.
    pub fn host(&self, id: &HostId) -> Option<&Arc<Host>> {
        self.state.hosts.get(id).map(|view| &view.host)
    }

    /// The command with this id, among the open and recent ones.
    pub fn command(&self, id: CommandId) -> Option<&Arc<Command>> {
        self.state.commands.get(&id)
    }

    /// The run with this id, among the open and recent ones.
    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.state.runs.get(&id)
    }

    /// All hosts, by name.
    fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.state.hosts.values().map(|view| &view.host)
    }

    /// All hosts as the page sorts them: by criticality, then by name.
    fn sorted(&self) -> Vec<&Arc<Host>> {
        let mut hosts: Vec<_> = self.hosts().collect();
        hosts.sort_by_key(|host| rank(host));
        hosts
    }

    /// What the registry says of an op.
    fn op(&self, op: Op) -> Option<&OpEntry> {
        self.ops.iter().find(|entry| entry.id == op)
    }

    /// The pipeline of this name.
    fn pipeline(&self, name: &str) -> Option<&PipelineEntry> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }

    /// What a button says for an op.
    fn label(&self, op: Op) -> &str {
        self.op(op).map_or(op.as_str(), |entry| entry.label.as_str())
    }
}

/// What the table sorts by.
fn rank(host: &Host) -> (nixfleet_protocol::agent::DeviceType, &str) {
    (host.device_type, host.id.as_str())
}

/// Renders a template; what can't be rendered is an empty text, and the log says so.
fn html(template: &impl askama::Template) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a template could not be rendered");
        String::new()
    })
}
