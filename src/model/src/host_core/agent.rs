//! What the agent says: its register, its heartbeats, how far it is.

use std::collections::BTreeSet;

use nixfleet_protocol::agent::{AgentMessage, Heartbeat, OperationProgress, Register, TestProgress};
use nixfleet_protocol::api::{Category, Level, Progress};
use nixfleet_protocol::text::plain_cut;
use nixfleet_protocol::{CommandId, Time};

use super::echo::Echo;
use super::{Core, Effect, Link, Step};
use crate::command::{self, AgentNow, Beat, Said, Was};
use crate::event::NewEvent;
use crate::host::Freshness;

impl Core {
    pub(super) fn link_up(&mut self, link: u64, register: &Register, now: Time, step: &mut Step) {
        self.record.registered(register, now);
        let protocol = register.generation_of_protocol();
        let named: BTreeSet<CommandId> = register.running.iter().chain(&register.results).take(200).copied().collect();
        let mut commands = named.clone();
        commands.extend(self.unfinished().filter(|command| !command.waits()).map(|command| command.id));
        self.link = Some(Link {
            id: link,
            protocol,
            fresh: true,
            commands: commands.clone(),
            heard_of: BTreeSet::new(),
            foreign: BTreeSet::new(),
            echo: Echo::default(),
        });
        self.looked_for.clear();
        // What came on another link comes again on this one.
        self.results.clear();
        self.strays.clear();
        let message = format!("{} connected, agent {}", self.record.id, cut(&register.agent_version));
        self.event(Category::System, Level::Info, "agent", "agent_connected", message, now, step);
        step.then.push(Effect::Registered { link, commands: commands.into_iter().collect() });
        // What was told to end before is told again, where it still runs.
        self.ending.clear();
        for id in self.unfinished().map(|command| command.id).collect::<Vec<_>>() {
            let said = Said {
                agent: AgentNow { freshness: Freshness::of(register), ..self.agent_now() },
                runs: register.running.contains(&id),
                has_result: register.results.contains(&id),
            };
            self.drive_one(id, command::Input::LinkUp(Box::new(said)), now, step);
        }
        self.set_beside_apart();
        self.facts_changed(now, step);
        self.look_for_unknown(step);
    }

    pub(super) fn link_down(&mut self, link: u64, now: Time, step: &mut Step) {
        if self.link.as_ref().is_none_or(|current| current.id != link) {
            return;
        }
        self.link = None;
        self.results.clear();
        self.strays.clear();
        self.record.facts.lost_at = Some(now);
        let message = format!("{} disconnected", self.record.id);
        self.event(Category::System, Level::Info, "agent", "agent_disconnected", message, now, step);
        for id in self.unfinished().map(|command| command.id).collect::<Vec<_>>() {
            self.drive_one(id, command::Input::LinkDown, now, step);
        }
        self.facts_changed(now, step);
    }

    /// The agent and the host as they are now.
    pub(super) fn agent_now(&self) -> AgentNow {
        let facts = &self.record.facts;
        AgentNow {
            protocol: self.link.as_ref().map_or(2, |link| link.protocol),
            journal: facts.journal,
            instance: facts.instance,
            boot_id: facts.boot_id.clone(),
            freshness: facts.freshness.clone(),
            was: Was {
                generation: facts.generation.clone(),
                lock_hash: facts.lock_hash.clone(),
                system_path: facts.system_path.clone(),
                deployed: facts.deployed.as_ref().map(|deployed| deployed.commit.clone()),
            },
        }
    }

    pub(super) fn heard(&mut self, link: u64, message: AgentMessage, now: Time, step: &mut Step) {
        if self.link.as_ref().is_none_or(|current| current.id != link) {
            return;
        }
        self.record.facts.last_seen = Some(now);
        match message {
            AgentMessage::Heartbeat(beat) => self.heartbeat(&beat, now, step),
            AgentMessage::Status(status) => self.status(status, now, step),
            AgentMessage::Accepted(accepted) => {
                self.drive_one(accepted.command_id, command::Input::Accepted, now, step);
            }
            AgentMessage::CommandRejected(rejected) => {
                let meant = rejected.command_id.or(self.open.as_deref().map(|open| open.id));
                if let Some(id) = meant {
                    self.drive_one(id, command::Input::Rejected { reason: cut(&rejected.reason) }, now, step);
                }
            }
            AgentMessage::Progress(progress) => {
                if self.is_open(progress.command_id) {
                    let progress = Progress {
                        phase: cut(&progress.phase),
                        done: progress.done,
                        expected: progress.expected,
                        text: cut(&progress.text),
                    };
                    self.progress(progress, now, step);
                }
            }
            AgentMessage::OperationProgress(progress) => self.operation_progress(&progress, now, step),
            AgentMessage::TestProgress(progress) => self.test_progress(&progress, now, step),
            // A second register on one link is against the protocol, and output goes to the log, not here.
            AgentMessage::Register(_) | AgentMessage::Output(_) => {}
        }
    }

    fn heartbeat(&mut self, beat: &Heartbeat, now: Time, step: &mut Step) {
        let news = self.record.facts.heard(beat, now);
        if let Some(metrics) = &beat.metrics {
            self.record.load.heard(metrics, now);
        }
        self.set_beside_apart();
        let first = self.link.as_mut().is_some_and(|link| std::mem::take(&mut link.fresh));
        if news || first {
            self.told_whole = None;
        }
        if first && self.open.is_some() {
            let system = beat.update_status.as_ref().and_then(|status| status.system.clone()).unwrap_or_default();
            let beat = Beat {
                pending: self.record.facts.pending.is_some(),
                system: system.status,
                message: cut(&system.message),
            };
            self.drive(command::Input::FirstHeartbeat(Box::new(beat)), now, step);
        }
        self.settle_echo(now, step);
        self.facts_changed(now, step);
        self.look_for_unknown(step);
    }

    /// Commands that the agent runs and that are not known here: perhaps the store was restored from a backup, or it
    /// is a journal that nobody reads any more.
    fn look_for_unknown(&mut self, step: &mut Step) {
        let open = self.open.as_deref().map(|open| open.id);
        for id in self.record.facts.running.iter().filter(|id| Some(**id) != open) {
            if self.looked_for.insert(*id) {
                step.then.push(Effect::Find(*id));
            }
        }
    }

    pub(super) fn is_open(&self, id: CommandId) -> bool {
        self.open.as_deref().is_some_and(|open| open.id == id)
    }

    fn progress(&mut self, progress: Progress, now: Time, step: &mut Step) {
        self.drive(command::Input::Progress(progress), now, step);
        self.tell_progress(now, step);
    }

    fn operation_progress(&mut self, said: &OperationProgress, now: Time, step: &mut Step) {
        let Some((phase, stage)) = said.progress.iter().find(|(_, stage)| stage.status == "in_progress") else {
            return;
        };
        let progress = Progress { phase: cut(phase), done: stage.current, expected: stage.total, text: String::new() };
        self.progress(progress, now, step);
    }

    fn test_progress(&mut self, said: &TestProgress, now: Time, step: &mut Step) {
        if said.command_id.is_some_and(|id| !self.is_open(id)) {
            return;
        }
        let text = match said.passed {
            Some(passed) => format!("{passed} passed"),
            None => cut(&said.result),
        };
        let progress = Progress { phase: "test".to_owned(), done: said.current, expected: said.total, text };
        self.progress(progress, now, step);
    }

    #[expect(clippy::too_many_arguments, reason = "an event is who, what, how, when; a struct would say it no shorter")]
    pub(super) fn event(
        &self,
        category: Category,
        level: Level,
        actor: &str,
        action: &str,
        message: String,
        now: Time,
        step: &mut Step,
    ) {
        let event = NewEvent::new(now, category, level, actor, action, message).on(self.record.id.clone());
        step.writes.events.push(event);
    }
}

/// A text of an agent: plain, and cut to what a page can show.
pub(super) fn cut(text: &str) -> String {
    plain_cut(text, 1000)
}
