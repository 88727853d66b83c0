//! What sync asks of the pages: fragments of changes, made from the very templates of the first render. Here the
//! two meet; neither knows of the other.

use nixfleet_model::checks::{EXEC_DISABLED, UNSUPPORTED};
use nixfleet_model::fleet_state::FleetState;
use nixfleet_model::ops;
use nixfleet_protocol::api::{Command, Host, LogLine, OpEntry, PipelineEntry};
use nixfleet_protocol::browser::{Change, Fragment};
use nixfleet_protocol::sgr::Pen;
use nixfleet_protocol::{CommandId, Epoch, Op, Time, Version};

use super::pages::{self, Fleet};
use crate::actors::sync::{PageKind, Render, Snapshot};

/// The pages, for sync.
pub struct Pages {
    ops: Vec<OpEntry>,
    pipelines: Vec<PipelineEntry>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            ops: ops::registry().map(ops::OpSpec::entry).collect(),
            pipelines: ops::pipelines().iter().map(entry).collect(),
        }
    }
}

/// A pipeline that comes with the product, as the pages read it.
fn entry(pipeline: &ops::Pipeline) -> PipelineEntry {
    PipelineEntry {
        name: pipeline.name.to_owned(),
        label: pipeline.label.to_owned(),
        description: pipeline.description.to_owned(),
        ops: pipeline.ops().collect(),
        parallel: None,
        totp: pipeline.ops().any(|op| ops::spec(op).totp),
        built_in: true,
    }
}

impl Pages {
    /// What the pages read, of a state at a version. Fragments hold neither version nor epoch.
    fn with<R>(&self, state: &FleetState, epoch: Epoch, version: Version, render: impl FnOnce(&Fleet<'_>) -> R) -> R {
        let refused = |host: &Host| refused(state, host);
        let (ops, pipelines) = (&self.ops, &self.pipelines);
        render(&Fleet { state, ops, pipelines, refused: &refused, version, epoch, now: Time::now() })
    }

    /// What the pages read, of a snapshot: for a whole page.
    pub fn whole<R>(&self, now: &Snapshot, render: impl FnOnce(&Fleet<'_>) -> R) -> R {
        self.with(&now.state, now.epoch, now.version, render)
    }
}

/// What is refused on a host now, and why: of the same view as the checks. What its agent can't do at all, or
/// its own configuration forbids, is not among it, save what has a button in every row: it is no news, day after day.
fn refused(state: &FleetState, host: &Host) -> Vec<(Op, String)> {
    let Some(view) = state.hosts.get(&host.id) else { return Vec::new() };
    let never = |code: &str| code == UNSUPPORTED || code == EXEC_DISABLED;
    let told = view.refused.iter().filter(|it| !never(it.code) || pages::QUICK.contains(&it.op));
    told.map(|it| (it.op, it.message.to_string())).collect()
}

impl Render for Pages {
    fn fragments(&self, change: &Change, before: Option<&Host>, state: &FleetState, page: &PageKind) -> Vec<Fragment> {
        let nowhere = Epoch::from_uuid(uuid::Uuid::nil());
        self.with(state, nowhere, Version(0), |fleet| pages::fragments(change, before, fleet, page))
    }

    fn everything(&self, state: &FleetState, page: &PageKind) -> Vec<Fragment> {
        self.with(state, Epoch::from_uuid(uuid::Uuid::nil()), Version(0), |fleet| pages::full_fragments(fleet, page))
    }

    fn log_head(&self, state: &FleetState, command: &Command) -> String {
        self.with(state, Epoch::from_uuid(uuid::Uuid::nil()), Version(0), |fleet| pages::log_head(fleet, command))
    }

    fn log_rows(&self, command: CommandId, line: u64, lines: &[LogLine], pen: Pen) -> String {
        pages::log_rows(command, line, lines, pen)
    }
}
