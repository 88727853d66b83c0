//! Carries out an order: for each op looks at the situation, asks for the plan, and walks through its steps.
//!
//! The runner owns one and drops it at the end. All that it decides itself is what a step's end means for the
//! whole; what the steps are is the plan's matter.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_protocol::agent::Deployed;
use nixfleet_protocol::text::plain;
use nixfleet_protocol::{Op, Time};
use serde_json::Value;

use super::handed_over::Units;
use super::log::LogFile;
use super::masked::masked;
use super::nix::Built;
use super::process::{self, End, Ended, Surroundings};
use super::stopping::{Help, Wish};
use super::{remains, suite};
use crate::config::machine::is_executable;
use crate::durable;
use crate::facts::{git, hash, system};
use crate::journal::entry::{Entry, PROGRESS};
use crate::ops::checkout;
use crate::ops::deployed::DeployedRecord;
use crate::ops::plan::plan;
use crate::ops::situation::{self, CheckoutState, Situation};
use crate::ops::step::{Action, Invocation, Refusal, Remember, Step};
use crate::ops::words;
use crate::record::{HostSettings, Order, ProgressRecord, Stage};

/// How long the host may take to go down after a reboot was asked for.
const GOING_DOWN: Duration = Duration::from_mins(5);
/// How often a lock that another process holds is tried.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// The code of a command that was stopped.
pub const STOPPED: i32 = 130;

/// How a command ended, before the host's facts are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// 0 is success.
    pub exit_code: i32,
    /// What failed.
    pub stage: Option<Stage>,
    /// One sentence.
    pub message: String,
    /// Results of tests and the like.
    pub details: Option<Value>,
}

impl Verdict {
    /// Something failed.
    pub fn failed(exit_code: i32, stage: Stage, message: impl Into<String>) -> Self {
        // A failure never looks like a success, whatever code a program found fitting.
        let exit_code = if exit_code == 0 { 1 } else { exit_code };
        Self { exit_code, stage: Some(stage), message: message.into(), details: None }
    }

    pub(super) fn stopped() -> Self {
        Self::failed(STOPPED, Stage::Stopped, "stopped")
    }

    /// A script of one's own does everything at once. Where its last words are nix's about a build, nothing was
    /// activated.
    fn in_nix_words(self) -> Self {
        let of_a_build = ["error: builder for ", "failed to build", "error: Cannot build "];
        let built =
            self.stage == Some(Stage::Activation) && of_a_build.iter().any(|words| self.message.contains(words));
        if built { Self { stage: Some(Stage::Build), ..self } } else { self }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::failed(1, refusal.stage, refusal.message)
    }
}

/// One command being carried out.
#[derive(Debug)]
pub struct Execution<'a> {
    pub(super) order: &'a Order,
    pub(super) entry: &'a Entry,
    wish: Wish,
    pub(super) log: LogFile,
    pub(super) work_dir: PathBuf,
    environment: BTreeMap<String, String>,
    pub(super) built: Built,
    pub(super) details: Option<Value>,
    pub(super) message: Option<String>,
}

impl<'a> Execution<'a> {
    /// Begins with an empty log.
    pub fn new(order: &'a Order, entry: &'a Entry, wish: Wish, log: LogFile) -> Self {
        let work_dir = entry.file("work");
        Self {
            order,
            entry,
            wish,
            log,
            work_dir,
            environment: BTreeMap::new(),
            built: Built::default(),
            details: None,
            message: None,
        }
    }

    pub(super) const fn host(&self) -> &'a HostSettings {
        &self.order.host
    }

    /// Does all of it. Gives the log back, so that it can be ended.
    pub async fn carry_out(mut self) -> (Verdict, LogFile) {
        let verdict = match self.all().await {
            Ok(()) => Verdict {
                exit_code: 0,
                stage: None,
                message: self.message.take().unwrap_or_else(|| self.done()),
                details: self.details.take(),
            },
            Err(verdict) => {
                self.log.note(&verdict.message);
                Verdict { details: verdict.details.or_else(|| self.details.take()), ..verdict }
            }
        };
        let _ = std::fs::remove_dir_all(&self.work_dir);
        (verdict, self.log)
    }

    /// The sentence about a success.
    fn done(&self) -> String {
        let commit = git::head(&self.host().checkout).map_or_else(String::new, |commit| commit.short().to_owned());
        match words::of_a_runner(&self.order.ops).last() {
            Some(Op::Pull) if !commit.is_empty() => format!("{commit} is checked out"),
            Some(Op::Switch | Op::ForceRebuild) if !commit.is_empty() => format!("{commit} is deployed"),
            Some(Op::Rollback) => "the generation before runs again".to_owned(),
            _ => format!("{} done", self.order.word),
        }
    }

    async fn all(&mut self) -> Result<(), Verdict> {
        std::fs::create_dir_all(&self.work_dir)
            .map_err(|error| Verdict::failed(1, Stage::Interrupted, format!("no directory to work in: {error}")))?;
        let _held = if crate::ops::own::takes_locks(&self.order.ops, self.order.legacy) {
            // The second: the first clone of a fresh agent may be under way.
            Some((self.lock("system.lock").await?, self.lock("repo.lock").await?))
        } else {
            None
        };
        for op in words::of_a_runner(&self.order.ops) {
            self.environment = self.environment_now(*op);
            if super::own::carries_out(*op) {
                self.heed_stop()?;
                self.own(*op).await?;
                continue;
            }
            let situation = self.situation(*op).await?;
            let steps = plan(*op, self.order.args.as_ref(), self.host(), &situation)?;
            match self.walk(&steps).await {
                Err(_) if *op == Op::Pull && self.clone_is_broken(&situation).await => {
                    self.log.note("the clone is broken; it is made anew");
                    let situation = Situation { checkout: CheckoutState::Broken, ..situation };
                    let steps = plan(*op, self.order.args.as_ref(), self.host(), &situation)?;
                    self.walk(&steps).await?;
                }
                walked => walked?,
            }
        }
        Ok(())
    }

    async fn lock(&mut self, name: &str) -> Result<File, Verdict> {
        let path = self.host().state_dir.join(name);
        let mut said = false;
        loop {
            match durable::try_lock(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if !said => {
                    self.log.note("waiting for another command of this host to end");
                    said = true;
                }
                Ok(None) => {}
                Err(error) => {
                    let message = format!("{} can't be locked: {error}", path.display());
                    return Err(Verdict::failed(1, Stage::Interrupted, message));
                }
            }
            self.heed_stop()?;
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    pub(super) fn heed_stop(&self) -> Result<(), Verdict> {
        if self.wish.asked().is_some() { Err(Verdict::stopped()) } else { Ok(()) }
    }

    /// The environment of this op's programs, made anew: the commit may have changed since the last op.
    fn environment_now(&self, op: Op) -> BTreeMap<String, String> {
        let host = self.host();
        let mut out = host.environment.clone();
        out.extend(checkout::git_environment(host));
        let commit = git::head(&host.checkout).map(|commit| commit.to_string()).unwrap_or_default();
        for (name, value) in [
            ("NIXFLEET_HOST", host.name.clone()),
            ("NIXFLEET_COMMIT", commit),
            ("NIXFLEET_OP", op.to_string()),
            ("NIXFLEET_PLATFORM", host.platform.as_str().to_owned()),
            ("NIXFLEET_REPO", host.checkout.display().to_string()),
            (remains::VARIABLE, self.order.id.to_string()),
        ] {
            out.insert(name.to_owned(), value);
        }
        out
    }

    /// Looks at the disk, and asks the programs that know more.
    async fn situation(&mut self, op: Op) -> Result<Situation, Verdict> {
        let host = self.host();
        let mut now = situation::look(host)
            .map_err(|error| Verdict::failed(1, Stage::Checkout, format!("the host can't be looked at: {error}")))?;
        if op == Op::Pull && host.repo_url.is_none() && matches!(now.checkout, CheckoutState::Present { .. }) {
            let changes = self.quietly(&checkout::changes(host)).await?;
            let lines = String::from_utf8_lossy(&changes.captured).into_owned();
            now.local_changes = lines.lines().map(|line| line.trim().to_owned()).collect();
        }
        self.ask_nix(op, &mut now).await?;
        Ok(now)
    }

    /// Runs a program whose output is for us.
    pub(super) async fn quietly(&mut self, action: &Action) -> Result<Ended, Verdict> {
        let Action::Run(invocation) = action else {
            return Err(Verdict::failed(1, Stage::Interrupted, "only a program can be asked"));
        };
        let invocation = invocation.clone();
        self.program(&invocation, Stage::Checkout, Some(&mut Silent)).await
    }

    async fn clone_is_broken(&mut self, before: &Situation) -> bool {
        let ours = matches!(before.checkout, CheckoutState::Present { ours: true });
        if !ours || self.wish.asked().is_some() {
            return false;
        }
        let examination = checkout::examination(self.host());
        self.quietly(&examination).await.is_ok_and(|ended| ended.end != End::Exited(0))
    }

    async fn walk(&mut self, steps: &[Step]) -> Result<(), Verdict> {
        for step in steps {
            if step.action.may_be_stopped() {
                self.heed_stop()?;
            }
            self.progress(&ProgressRecord { phase: step.phase.to_owned(), ..ProgressRecord::default() });
            self.step(step).await?;
        }
        Ok(())
    }

    /// Says how far it is. May be lost.
    pub(super) fn progress(&self, progress: &ProgressRecord) {
        let progress = ProgressRecord { text: plain(&progress.text), ..progress.clone() };
        if let Ok(bytes) = serde_json::to_vec(&progress) {
            let _ = durable::write_lightly(&self.entry.file(PROGRESS), &bytes);
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Verdict> {
        match &step.action {
            Action::Run(invocation) => self.run(invocation, step.stage).await.map_err(Verdict::in_nix_words),
            Action::RunFirst(invocations) => {
                let there = |one: &&Invocation| one.argv.first().is_some_and(|program| is_executable(program.as_ref()));
                match invocations.iter().find(there) {
                    Some(invocation) => self.run(invocation, step.stage).await.map_err(Verdict::in_nix_words),
                    None => Err(Verdict::failed(127, step.stage, "the checkout has no executable switch")),
                }
            }
            Action::Build(invocation) => self.build(invocation).await,
            Action::Activate(invocation) => self.activate(invocation).await,
            Action::Compare => self.compare().await,
            Action::RunPlan(invocation) => self.run_plan(invocation).await,
            Action::Evaluate(invocation) => self.evaluate(invocation).await,
            Action::UpdateInputs { asked, invocation } => self.update_inputs(asked, invocation).await,
            Action::CollectGarbage { mode, invocation } => self.collect_garbage(*mode, invocation).await,
            Action::Tests(cases) => {
                let (verdict, message) = suite::run(self, cases).await?;
                self.message = Some(message);
                verdict.map_or(Ok(()), Err)
            }
            Action::MakeClone => self.make_clone().await,
            Action::RemoveClone => self.disk(step.stage, super::clone::remove_contents(&self.host().checkout)),
            Action::RemoveStaleLocks => {
                let removed = super::clone::remove_stale_locks(&self.host().checkout.join(".git"));
                self.disk(step.stage, removed.map(|_| ()))
            }
            Action::Expect(expectation) => self.expect(expectation),
            Action::Remember(remember) => self.remember(remember).await,
            Action::AwaitReboot => self.await_reboot().await,
        }
    }

    fn disk(&self, stage: Stage, done: std::io::Result<()>) -> Result<(), Verdict> {
        done.map_err(|error| Verdict::failed(1, stage, format!("{}: {error}", self.host().checkout.display())))
    }

    /// Runs a program; `reader` sees its lines first. A stop is a verdict, everything else an end.
    pub(super) async fn program(
        &mut self,
        invocation: &Invocation,
        stage: Stage,
        reader: Option<&mut dyn process::Reader>,
    ) -> Result<Ended, Verdict> {
        let help = self.help();
        let units = if stage == Stage::Activation { Units::of_activation(self.host(), &help) } else { None };
        let around = Surroundings {
            entry: self.entry,
            work_dir: &self.work_dir,
            environment: &self.environment,
            wish: &self.wish,
            help: &help,
            units: units.as_ref(),
        };
        let ended = process::run(invocation, &around, &mut self.log, reader)
            .await
            .map_err(|error| Verdict::failed(127, stage, error.to_string()))?;
        if ended.end == End::Stopped { Err(Verdict::stopped()) } else { Ok(ended) }
    }

    pub(super) fn help(&self) -> Help {
        Help::of(self.host(), &self.environment)
    }

    /// Writes into the log what is run.
    pub(super) fn tell(&mut self, invocation: &Invocation) {
        self.log.note(&format!("$ {}", invocation.argv.join(" ")));
    }

    pub(super) async fn run(&mut self, invocation: &Invocation, stage: Stage) -> Result<(), Verdict> {
        self.tell(invocation);
        let ended = self.program(invocation, stage, None).await?;
        judged(invocation, &ended, stage)
    }

    async fn make_clone(&mut self) -> Result<(), Verdict> {
        let host = self.host();
        // The mark first: whatever ends us in the middle, what is there is known as ours.
        let git_dir = host.checkout.join(".git");
        let made = durable::private_dir(&host.checkout)
            .and_then(|()| durable::private_dir(&git_dir))
            .and_then(|()| durable::write(&git_dir.join(checkout::MARK), b"made by nixfleet-agent\n"));
        self.disk(Stage::Checkout, made)?;
        if let Action::Run(invocation) = checkout::initialisation(host) {
            self.run(&invocation, Stage::Checkout).await?;
        }
        Ok(())
    }

    /// Writes the deployed record. The system runs already: a disk that is full for a while does not make that
    /// untrue, so room is waited for.
    async fn remember(&mut self, remember: &Remember) -> Result<(), Verdict> {
        let (at, mut said) = (Time::now(), false);
        loop {
            let error = match self.record(remember, at) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
                let message = format!("the switch worked, but its record can't be written: {error}");
                return Err(Verdict::failed(1, Stage::Activation, message));
            }
            if !std::mem::replace(&mut said, true) {
                self.log.note("the disk is full: waiting for room to write down what is deployed");
            }
            self.heed_stop()?;
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    fn record(&self, remember: &Remember, at: Time) -> std::io::Result<()> {
        let host = self.host();
        let system_path = system::running_system(host);
        let mut store = DeployedRecord::load(&host.state_dir)?;
        match remember {
            Remember::Deployed => {
                if let Some(commit) = git::head(&host.checkout) {
                    store.switched(Deployed {
                        commit,
                        lock_hash: hash::sha256(&host.checkout.join("flake.lock")).ok(),
                        system_path,
                        number: system::current_number(host),
                        at,
                    });
                }
            }
            Remember::WentBack { to } => {
                store.went_back(to.as_ref(), system_path.as_deref(), at);
            }
        }
        store.store(&host.state_dir)
    }

    async fn await_reboot(&mut self) -> Result<(), Verdict> {
        self.log.note("waiting for the host to go down");
        let until = tokio::time::Instant::now() + GOING_DOWN;
        let mut said = false;
        while tokio::time::Instant::now() < until {
            if self.wish.asked().is_some() && !std::mem::replace(&mut said, true) {
                self.log.note("the host goes down already: a reboot that was asked for can't be stopped");
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
        Err(Verdict::failed(1, Stage::Activation, "the host did not go down within 5 minutes"))
    }
}

/// What the end of a program means. One that a signal ended was interrupted: it did not fail by itself.
pub(super) fn judged(invocation: &Invocation, ended: &Ended, stage: Stage) -> Result<(), Verdict> {
    let program = invocation.argv.first().map_or("", String::as_str);
    let name = program.rsplit('/').next().unwrap_or(program);
    match ended.end {
        End::Exited(0) => Ok(()),
        End::Exited(code) => {
            if let Some(signal) = process::ending_signal(code).filter(|_| stage != Stage::Tests) {
                return Err(Verdict::failed(code, Stage::Interrupted, format!("{name} was interrupted by {signal}")));
            }
            let why = ended.reason.as_deref().map_or(String::new(), |reason| format!(": {}", masked(reason)));
            Err(Verdict::failed(code, stage, format!("{name} ended with code {code}{why}")))
        }
        End::TimedOut => Err(Verdict::failed(124, stage, format!("{name} took too long"))),
        End::Stopped => Err(Verdict::stopped()),
    }
}

/// Drops every line: its program's output is for us.
struct Silent;

impl process::Reader for Silent {
    fn line(&mut self, _: nixfleet_protocol::agent::Stream, text: &str, _: bool) -> Option<String> {
        Some(masked(text))
    }
}
