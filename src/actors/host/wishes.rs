//! What people wish of a host: who waits for which answer, and who is told at once that the disk hangs.

use nixfleet_model::host_core::{Act, ActRefused, Input, Submit, Submitted};
use nixfleet_protocol::{CommandId, api};
use ractor::RpcReplyPort;
use uuid::Uuid;

use super::{DISK_HANGS, HostRef, State, Waiting};
use crate::actors::slot::answer;

impl State {
    pub(super) fn submit(&mut self, myself: &HostRef, request: Submit, reply: RpcReplyPort<Submitted>) {
        if let Some(why) = self.disk_hangs() {
            return answer(reply, Submitted::Unavailable(why));
        }
        let ask = self.ask(Waiting::Submit(reply));
        let id = CommandId::from_uuid(Uuid::now_v7());
        self.step(myself, Input::Submit { ask, id, request });
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

    /// Who wishes something of a host whose records can't be written is told so, and it is not done later.
    pub(super) fn disk_hangs(&self) -> Option<String> {
        let since = self.committing_since.filter(|since| since.elapsed() > DISK_HANGS)?;
        Some(format!("the store has not answered for {} seconds: nothing was begun", since.elapsed().as_secs()))
    }
}
