//! What the core of a host wants to be done, done: one match. Effects come here when the commit that they stand behind
//! is on disk, in their order; nothing here waits. What takes its time is a task that tells the actor how it ended; when
//! the actor dies, those who waited for an answer are told so by their reply ports.

use std::time::Duration;

use nixfleet_model::host_core::{Effect, Input, Submitted};
use nixfleet_protocol::{CommandId, Time};
use ractor::ActorStatus;

use super::{AskRemote, HostRef, Msg, REMOVED, State, Waiting, log, readers, tell};
use crate::actors::hosts;
use crate::actors::links::link::close;
use crate::actors::slot::answer;
use crate::actors::store::StoreHandle;

/// How soon a store that gave no answer is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl State {
    /// All of them, in their order.
    pub(super) fn perform(&mut self, myself: &HostRef, effects: Vec<Effect>) {
        let mut late = None;
        for effect in effects {
            match effect {
                Effect::Registered { link, commands } => self.measure(myself, link, commands),
                Effect::Send { link, message } => self.send(link, message),
                Effect::Order { command, link, message, by } => {
                    if self.may_begin(myself, command, by) {
                        self.send(link, message);
                    } else {
                        late = Some(command);
                    }
                }
                Effect::CloseLink { link, reason } => {
                    if let Some(current) = self.link.as_ref().filter(|current| current.link.id() == link) {
                        current.link.close(close::RESTART, reason);
                    }
                }
                Effect::Answer { ask, answer: submitted } => {
                    if let Some(Waiting::Submit(reply)) = self.waiting.remove(&ask) {
                        let late = match &submitted {
                            Submitted::Accepted(command) => late.filter(|late| *late == command.id),
                            Submitted::Blocked(..)
                            | Submitted::NotNow(_)
                            | Submitted::NoSuchHost
                            | Submitted::Unavailable(_)
                            | Submitted::Late { .. } => None,
                        };
                        answer(reply, late.map_or(submitted, Submitted::late));
                    }
                }
                Effect::AnswerReserve { ask, answer: reserved } => {
                    if let Some(Waiting::Reserve(reply)) = self.waiting.remove(&ask) {
                        answer(reply, reserved);
                    }
                }
                Effect::AnswerAct { ask, answer: acted } => {
                    if let Some(Waiting::Act(reply)) = self.waiting.remove(&ask) {
                        answer(reply, acted.map(|command| *command));
                    }
                }
                Effect::AskRemote { number, within } => {
                    let (hosts, host) = (self.hosts.clone(), self.host.clone());
                    // By way of the parent: what the remote says comes that way too, and in this order.
                    let done = Box::new(move || tell(&hosts, hosts::Msg::RemoteAsked { host, number }));
                    (self.world.ask_remote)(AskRemote { within, done });
                }
                Effect::Interest(commit) => (self.world.interest)(commit),
                Effect::Find(id) => {
                    let (store, myself) = (self.world.store.clone(), myself.clone());
                    tokio::spawn(async move { find(&store, &myself, id).await });
                }
                Effect::FlushLog(command) => self.log(myself, command).flush(),
                Effect::Watch(command) => {
                    let task = readers::watch(command, self.log(myself, command).end(), myself.clone());
                    self.readers.insert(command, task);
                }
                Effect::Wake { command, addresses, by } => {
                    if self.may_begin(myself, command, by) {
                        (self.world.wake)(addresses);
                    }
                }
                Effect::AutoTest => self.auto_test(myself),
                Effect::LogOver(command) => {
                    self.readers.remove(&command);
                    if let Some(log) = self.logs.remove(&command) {
                        log.over();
                    }
                    (self.world.log_over)(self.host.clone(), command);
                }
                Effect::Gone => {
                    self.removed = true;
                    self.logs.clear();
                    log::forget(&self.world.data_dir, &self.host);
                    tell(&self.hosts, hosts::Msg::Gone { host: self.host.clone() });
                    myself.stop(Some(REMOVED.to_owned()));
                }
            }
        }
    }
}

impl State {
    /// Whether what waited for the disk may begin now: it is not over, and somebody still waits for it.
    fn may_begin(&mut self, myself: &HostRef, command: CommandId, by: Option<Time>) -> bool {
        let now = self.now();
        if by.is_some_and(|by| now > by) {
            self.step(myself, Input::TooLate { command });
        }
        self.core.command(command).is_some()
    }
}

/// Looks for a command in the store, for as long as the store says nothing: an agent waits for what is made of it.
async fn find(store: &StoreHandle, myself: &HostRef, id: CommandId) {
    loop {
        match store.command(id).await {
            Ok(command) => return tell(myself, Msg::Found { id, command: command.map(Box::new) }),
            Err(error) => tracing::warn!(%id, %error, "command can't be looked up, trying again"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        if myself.get_status() >= ActorStatus::Draining {
            return;
        }
    }
}
