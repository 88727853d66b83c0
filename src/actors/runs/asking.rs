//! How a run asks for its commands: by their ids, of the host or of the dashboard itself. Whoever has a command of this
//! id answers with it, and else it begins; where nothing more is to begin it is only looked for.

use std::sync::Arc;

use nixfleet_model::checks::{Refusal, TotpProof};
use nixfleet_model::host_core::{Submit, Submitted};
use nixfleet_model::ops::spec;
use nixfleet_model::pipeline::Run;
use nixfleet_model::view::command_view;
use nixfleet_protocol::{CommandId, Op};

use super::World;
use super::run::{Msg, RunRef};
use crate::actors::host::tell;
use crate::actors::owned::OwnedTask;
use crate::actors::remote::Wanted;

/// Asks for a command that the run began. None: it has no such command under way.
pub(super) fn ask(world: &Arc<World>, run: &Run, id: CommandId, myself: &RunRef) -> Option<OwnedTask> {
    let (host, stage, _) = run.under_way().find(|(_, _, cell)| cell.command == Some(id))?;
    let record = &run.record;
    let stage = record.stages.get(stage)?;
    let actor = format!("pipeline:{}", record.id);
    let args = serde_json::from_str(&stage.args).unwrap_or_default();
    let only_known = record.cancelled.is_some();
    let (op, force, run_id) = (stage.op, record.options.force, Some(record.id));
    let (world, myself) = (Arc::clone(world), myself.clone());
    let Some(host) = host.cloned() else {
        let wanted = Wanted { id: Some(id), args, force, run_id, ..Wanted::new(op, actor) };
        return Some(OwnedTask::start(async move {
            let submitted = if only_known { known(&world, id, op).await } else { world.remote.submit(wanted).await };
            tell(&myself, Msg::Answered { id, submitted: Box::new(submitted) });
        }));
    };
    let totp = if record.totp && spec(op).totp { TotpProof::Valid } else { TotpProof::NotGiven };
    let request = Submit { id: Some(id), only_known, args, force, run_id, totp, ..Submit::new(op, actor) };
    Some(OwnedTask::start(async move {
        let submitted = Box::new(world.hosts.submit(host, request).await);
        tell(&myself, Msg::Answered { id, submitted });
    }))
}

/// A command of the dashboard, from the store.
async fn known(world: &World, id: CommandId, op: Op) -> Submitted {
    let found = match world.store.settled().await {
        Ok(()) => world.store.command(id).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(Some(command)) => Submitted::Accepted(Box::new(command_view(&command))),
        Ok(None) => {
            let message = format!("{op} had not begun.");
            Submitted::NotNow(Refusal { code: "not_begun", message, offer: None, command_id: None })
        }
        Err(error) => Submitted::Unavailable(error.to_string()),
    }
}
