//! What people wish of a host: who waits for which answer, and who is told at once that the disk hangs.

use nixfleet_model::checks::Refusal;
use nixfleet_model::host_core::{Act, ActRefused, Input, Submit, Submitted};
use nixfleet_protocol::{CommandId, api};
use ractor::RpcReplyPort;
use uuid::Uuid;

use nixfleet_model::command::Command;
use nixfleet_model::view::command_view;
use nixfleet_protocol::RunId;

use super::{DISK_HANGS, HostRef, Msg, State, Waiting, tell};
use crate::actors::slot::answer;

impl State {
    pub(super) fn submit(&mut self, myself: &HostRef, id: CommandId, request: Submit, reply: RpcReplyPort<Submitted>) {
        if let Some(why) = self.disk_hangs() {
            return answer(reply, Submitted::Unavailable(why));
        }
        if request.id.is_some() && self.core.command(id).is_none() {
            self.seek(myself, id, request, reply);
        } else {
            self.begin(myself, id, request, reply);
        }
    }

    /// A command of this id may be over: the store knows it.
    fn seek(&self, myself: &HostRef, id: CommandId, request: Submit, reply: RpcReplyPort<Submitted>) {
        let (store, myself, request) = (self.world.store.clone(), myself.clone(), Box::new(request));
        tokio::spawn(async move {
            match store.command(id).await {
                Ok(known) => tell(&myself, Msg::Sought { id, request, known: known.map(Box::new), reply }),
                Err(error) => answer(reply, Submitted::Unavailable(error.to_string())),
            }
        });
    }

    pub(super) fn sought(
        &mut self,
        myself: &HostRef,
        id: CommandId,
        request: Submit,
        known: Option<Box<Command>>,
        reply: RpcReplyPort<Submitted>,
    ) {
        if let Some(known) = known {
            return answer(reply, Submitted::Accepted(Box::new(command_view(&known))));
        }
        // It came and ended between the question and its answer, and its end is on its way to the disk.
        if self.core.was_given(id) && self.core.command(id).is_none() {
            return answer(reply, Submitted::Unavailable("its record is being written".to_owned()));
        }
        self.begin(myself, id, request, reply);
    }

    fn begin(&mut self, myself: &HostRef, id: CommandId, request: Submit, reply: RpcReplyPort<Submitted>) {
        // It lay here for so long that who wished it was told that it is not done.
        if reply.is_closed() {
            return;
        }
        let ask = self.ask(Waiting::Submit(reply));
        self.step(myself, Input::Submit { ask, id, request });
    }

    pub(super) fn reserve(&mut self, myself: &HostRef, run: RunId, reply: RpcReplyPort<Result<(), Refusal>>) {
        let ask = self.ask(Waiting::Reserve(reply));
        self.step(myself, Input::Reserve { ask, run });
    }

    pub(super) fn act(
        &mut self,
        myself: &HostRef,
        command: CommandId,
        action: Act,
        actor: String,
        reply: RpcReplyPort<Result<api::Command, ActRefused>>,
    ) {
        if let Some(why) = self.disk_hangs() {
            return answer(reply, Err(ActRefused::Unavailable(why)));
        }
        let ask = self.ask(Waiting::Act(reply));
        self.step(myself, Input::Act { ask, command, action, actor });
    }

    /// The tests of the host begin by themselves. While the disk hangs they wait as well.
    pub(super) fn auto_test(&mut self, myself: &HostRef) {
        self.step(myself, Input::AutoTest { id: CommandId::from_uuid(Uuid::now_v7()) });
    }

    fn ask(&mut self, waiting: Waiting) -> u64 {
        self.next_ask += 1;
        self.waiting.insert(self.next_ask, waiting);
        self.next_ask
    }

    /// Who wishes something of a host whose records can't be written is told so. What was begun
    /// before, and does not reach the disk in time, is not done later either: see `Effect::Order`.
    pub(super) fn disk_hangs(&self) -> Option<String> {
        let since = self.committing_since.filter(|since| since.elapsed() > DISK_HANGS)?;
        Some(format!("the store has not answered for {} seconds: nothing was begun", since.elapsed().as_secs()))
    }
}
