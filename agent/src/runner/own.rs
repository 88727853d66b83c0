//! Carries out the ops that are no plan of steps: `check-version`, `refresh-lock`, `exec`, `journal`, and the
//! `refresh-git` of old dashboards.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::{AgentProgram, HostType, Stream, VersionCheck};

use super::execution::{Execution, Verdict};
use super::masked::masked;
use super::process::{End, Reader};
use crate::facts::installed;
use crate::ops::step::{Action, Invocation};
use crate::ops::{checkout, own};
use crate::record::Stage;

/// An agent that can't say its version within this time says none.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// Whether an op is one of ours, and no plan is asked for.
pub const fn carries_out(op: Op) -> bool {
    matches!(op, Op::CheckVersion | Op::RefreshLock | Op::Exec | Op::Journal | Op::RefreshGit)
}

/// The kind of system that a runner is on; it decides where a journal is.
const HERE: HostType = if cfg!(target_os = "macos") { HostType::Macos } else { HostType::Linux };

impl Execution<'_> {
    /// One of these ops, whole.
    pub(super) async fn own(&mut self, op: Op) -> Result<(), Verdict> {
        if let Some(refusal) = own::refusal(&[op], self.order.args.as_ref(), &self.order.host) {
            return Err(failed(1, refusal));
        }
        if op == Op::CheckVersion {
            self.check_version().await
        } else if op == Op::Exec {
            self.exec().await
        } else if op == Op::Journal {
            self.journal().await
        } else if op == Op::RefreshGit {
            self.refresh_git().await
        } else {
            self.refresh_lock();
            Ok(())
        }
    }

    async fn check_version(&mut self) -> Result<(), Verdict> {
        let running = self.order.agent.clone();
        let started_as = self.order.started_as.clone();
        let installed = match installed::place(&self.order.host, &started_as) {
            Some(place) => {
                let (version, source_commit) = self.asked_for_version(&place.display().to_string()).await?;
                Some(AgentProgram { version, source_commit, ..installed::program(&place) })
            }
            None => None,
        };
        let check = VersionCheck::of(running, installed);
        let message = sentence(&check);
        self.log.note(&message);
        self.details = serde_json::to_value(&check).ok();
        self.message = Some(message);
        Ok(())
    }

    /// What an agent answers to `--version`: `nixfleet-agent 0.1.0 (commit)`.
    async fn asked_for_version(
        &mut self,
        program: &str,
    ) -> Result<(Option<String>, Option<nixfleet_protocol::Commit>), Verdict> {
        let mut invocation = Invocation::new([program, "--version"]);
        invocation.limit = Some(VERSION_WITHIN);
        // Stopped is an end; an agent that can't answer is none.
        let said = match self.program(&invocation, Stage::Checkout, Some(&mut Unlogged)).await {
            Ok(ended) if ended.end == End::Exited(0) => String::from_utf8_lossy(&ended.captured).into_owned(),
            Err(verdict) if verdict.stage == Some(Stage::Stopped) => return Err(verdict),
            Ok(_) | Err(_) => String::new(),
        };
        let mut words = said.split_whitespace().skip(1);
        let version = words.next().map(|word| word.chars().take(80).collect());
        let commit = words.next().and_then(|word| word.trim_matches(['(', ')']).parse().ok());
        Ok((version, commit))
    }

    /// The facts of a result are read when it is written, so there is nothing more to do than to say what is there.
    fn refresh_lock(&mut self) {
        let message = match crate::facts::hash::sha256(&self.order.host.checkout.join("flake.lock")) {
            Ok(hash) => format!("flake.lock was read: {}…", hash.as_str().chars().take(12).collect::<String>()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "the checkout has no flake.lock".to_owned(),
            Err(error) => format!("flake.lock can't be read: {error}"),
        };
        self.log.note(&message);
        self.message = Some(message);
    }

    async fn exec(&mut self) -> Result<(), Verdict> {
        let argv = own::exec_argv(self.order.args.as_ref()).map_err(|why| failed(1, why))?;
        self.log.note(&masked(&format!("$ {}", argv.join(" "))));
        let invocation = Invocation::new(argv);
        self.ended_well(&invocation).await?;
        self.message = Some("exit code 0".to_owned());
        Ok(())
    }

    async fn journal(&mut self) -> Result<(), Verdict> {
        let wanted = own::Wanted::of(self.order.args.as_ref()).map_err(|why| failed(1, why))?;
        let argv = wanted.argv(HERE);
        let program = argv.first().cloned().unwrap_or_default();
        let path = self.order.host.environment.get("PATH").map_or("", String::as_str);
        if crate::config::machine::find(path, &program).is_none() {
            return Err(failed(127, format!("this host has no journal that can be read: there is no {program}")));
        }
        self.log.note(&format!("$ {}", argv.join(" ")));
        let mut invocation = Invocation::new(argv);
        invocation.last_lines = wanted.kept(HERE);
        self.ended_well(&invocation).await?;
        self.message = Some("the journal was read".to_owned());
        Ok(())
    }

    async fn refresh_git(&mut self) -> Result<(), Verdict> {
        if let Action::Run(invocation) = checkout::refresh(&self.order.host) {
            self.log.note(&format!("$ {}", invocation.argv.join(" ")));
            self.ended_well(&invocation).await?;
        }
        self.message = Some("the remote was asked".to_owned());
        Ok(())
    }

    /// Runs a program whose exit code is the whole verdict.
    async fn ended_well(&mut self, invocation: &Invocation) -> Result<(), Verdict> {
        let ended = self.program(invocation, Stage::Checkout, None).await.map_err(|verdict| {
            if verdict.stage == Some(Stage::Stopped) { verdict } else { Verdict { stage: None, ..verdict } }
        })?;
        let program = invocation.argv.first().map_or("", String::as_str);
        let name = program.rsplit('/').next().unwrap_or(program);
        match ended.end {
            End::Exited(0) => Ok(()),
            End::Exited(code) => {
                let why = ended.reason.map_or(String::new(), |reason| format!(": {}", masked(&reason)));
                Err(failed(code, format!("{name} ended with code {code}{why}")))
            }
            End::TimedOut | End::Stopped => Err(failed(124, format!("{name} took too long"))),
        }
    }
}

/// No stage of a deployment failed: the op itself did.
fn failed(exit_code: i32, message: impl Into<String>) -> Verdict {
    Verdict {
        exit_code: if exit_code == 0 { 1 } else { exit_code },
        stage: None,
        message: message.into(),
        details: None,
    }
}

fn sentence(check: &VersionCheck) -> String {
    let name = |program: &AgentProgram| {
        let version = program.version.as_deref().unwrap_or("of unknown version");
        program.source_commit.as_ref().map_or_else(
            || format!("{version} in {}", program.path),
            |commit| format!("{version} ({}) in {}", commit.short(), program.path),
        )
    };
    match (&check.installed, check.current) {
        (Some(installed), Some(true)) => format!("the installed agent runs: {}", name(installed)),
        (Some(installed), Some(false)) => {
            format!(
                "another agent is installed than the one that runs: {}. A restart of the agent starts it",
                name(installed)
            )
        }
        (Some(installed), None) => {
            format!("installed is {}; it can't be compared with the one that runs", name(installed))
        }
        (None, _) => "no installed agent was found: what a restart would start is not known".to_owned(),
    }
}

/// Keeps a program's words out of the log.
struct Unlogged;

impl Reader for Unlogged {
    fn line(&mut self, _: Stream, _: &str, _: bool) -> Option<String> {
        None
    }
}
