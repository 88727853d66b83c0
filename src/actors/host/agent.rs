//! The shell's side of the agent: what is sent to it, in which order, and where its output goes.

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::host_core::{Belongs, Input};
use nixfleet_protocol::agent::{DashboardMessage, Output, OutputAck, Register, Registered};
use nixfleet_protocol::{CommandId, PROTOCOL};
use tokio::sync::OwnedSemaphorePermit;

use super::log::log_path;
use super::writer::{News, Writer};
use super::{HostRef, Link, Measuring, Msg, State, tell};
use crate::actors::links::link::LinkRef;
use crate::actors::owned::OwnedTask;

/// How long the logs that a register names may take to say how long they are.
const MEASURE: Duration = Duration::from_secs(10);

impl State {
    pub(super) fn link_up(&mut self, myself: &HostRef, link: LinkRef, register: Box<Register>) {
        let id = link.id();
        self.link = Some(Link { link, held: Some(Vec::new()) });
        self.unplaced.clear();
        self.step(myself, Input::LinkUp { link: id, register });
    }

    /// Sends on the link that is meant; when another has taken its place its agent is told by its register.
    pub(super) fn send(&mut self, link: u64, message: DashboardMessage) {
        let Some(current) = self.link.as_mut().filter(|current| current.link.id() == link) else { return };
        match &mut current.held {
            Some(held) => held.push(message),
            None => {
                if !current.link.send(message) {
                    tracing::debug!(host = %self.host, link, "not sent: the link is going down");
                }
            }
        }
    }

    /// Finds out how long the logs are that a register named. Each is asked of its writer: what is still in its
    /// queue counts.
    pub(super) fn measure(&mut self, myself: &HostRef, link: u64, commands: Vec<CommandId>) {
        if self.core.protocol() < Some(PROTOCOL) || commands.is_empty() {
            return self.registered(link, BTreeMap::new());
        }
        for command in &commands {
            self.log(myself, *command).flush();
        }
        let myself = myself.clone();
        let limit = OwnedTask::start(async move {
            tokio::time::sleep(MEASURE).await;
            tell(&myself, Msg::MeasuredLongEnough { link });
        });
        self.measuring = Some(Measuring { link, offsets: BTreeMap::new(), missing: commands, _limit: limit });
    }

    /// A log that says nothing keeps no host out. Of what is not named its agent sends everything again.
    pub(super) fn measured_long_enough(&mut self, link: u64) {
        if let Some(measured) = self.measuring.take_if(|measuring| measuring.link == link) {
            tracing::warn!(host = %self.host, logs = ?measured.missing, "registered without the lengths of these logs");
            self.registered(measured.link, measured.offsets);
        }
    }

    pub(super) fn registered(&mut self, link: u64, offsets: BTreeMap<CommandId, u64>) {
        let new_kind = self.core.protocol() >= Some(PROTOCOL);
        let Some(current) = self.link.as_mut().filter(|current| current.link.id() == link) else { return };
        let registered = Registered {
            host_id: self.host.to_string(),
            protocol: new_kind.then_some(PROTOCOL),
            server_version: new_kind.then(|| self.world.settings.server_version.clone()),
            offsets,
        };
        let held = current.held.take().unwrap_or_default();
        for message in std::iter::once(DashboardMessage::Registered(registered)).chain(held) {
            if !current.link.send(message) {
                tracing::debug!(host = %self.host, link, "not sent: the link is going down");
            }
        }
    }

    pub(super) fn output(&mut self, myself: &HostRef, link: u64, output: Output, permit: OwnedSemaphorePermit) {
        match self.core.log_of(link, &output) {
            Belongs::To(command) => {
                let now = self.now();
                self.log(myself, command).line(output, now, permit);
            }
            Belongs::ToUnknown(command) => {
                // No more than the link has permits.
                self.unplaced.push((output, permit));
                self.step(myself, Input::HeardOf { command });
            }
            Belongs::Nowhere => {}
        }
    }

    /// The store has answered. Output that waited for it goes to its log, and only then a result may ask how long that is.
    pub(super) fn found(&mut self, myself: &HostRef, id: CommandId, command: Option<Box<Command>>) {
        let now = self.now();
        let step = self.core.step(Input::Found { id, command }, now);
        if let Some(link) = self.core.link() {
            let of_it = |(output, _): &(Output, OwnedSemaphorePermit)| output.command_id == Some(id);
            let (of_it, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unplaced).into_iter().partition(of_it);
            self.unplaced = others;
            for (output, permit) in of_it {
                if let Belongs::To(command) = self.core.log_of(link, &output) {
                    let now = self.now();
                    self.log(myself, command).line(output, now, permit);
                }
            }
        }
        self.follow_up(myself, step, now);
    }

    /// The writer of a command's log.
    pub(super) fn log(&mut self, myself: &HostRef, command: CommandId) -> &Writer {
        let path = || log_path(&self.world.data_dir, &self.host, command);
        self.logs.entry(command).or_insert_with(|| {
            let myself = myself.clone();
            Writer::start(command, path(), move |news| tell(&myself, Msg::Log { command, news }))
        })
    }

    pub(super) fn log_news(&mut self, myself: &HostRef, command: CommandId, news: News) {
        match news {
            News::Damaged(why) => self.step(myself, Input::LogDamaged { command, why }),
            News::Grew(bytes) => {
                if let Some(link) = self.core.link().filter(|_| self.core.protocol() >= Some(PROTOCOL)) {
                    let ack = OutputAck { command_id: command, offset: bytes };
                    self.send(link, DashboardMessage::OutputAck(ack));
                }
                self.step(myself, Input::LogGrew { command, bytes });
            }
            News::Flushed(bytes) => {
                if let Some(measuring) = &mut self.measuring {
                    measuring.missing.retain(|missing| *missing != command);
                    measuring.offsets.insert(command, bytes);
                }
                if let Some(measured) = self.measuring.take_if(|measuring| measuring.missing.is_empty()) {
                    self.registered(measured.link, measured.offsets);
                }
                self.step(myself, Input::LogFlushed { command, bytes });
            }
        }
    }

    /// Without a link only the logs of what is not over can still grow.
    pub(super) fn close_logs(&mut self) {
        let core = &self.core;
        self.logs.retain(|command, _| core.command(*command).is_some());
    }
}
