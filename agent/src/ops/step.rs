//! The steps that plans are made of: values, so that a plan can be looked at, compared and tested.

use std::path::PathBuf;
use std::time::Duration;

use nixfleet_protocol::Commit;
use nixfleet_protocol::agent::details::GcMode;

use super::args::BadArgs;
use crate::record::Stage;

/// A program to run: an argument vector, never a shell's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory; `None` is the command's own empty one.
    pub dir: Option<PathBuf>,
    /// What the environment has beyond the usual.
    pub environment: Vec<(String, String)>,
    /// The longest it may take.
    pub limit: Option<Duration>,
    /// Of its standard output only so many lines, the last ones, come into the log.
    pub last_lines: Option<u64>,
}

impl Invocation {
    /// A program with its arguments, in the command's own directory.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            dir: None,
            environment: Vec::new(),
            limit: None,
            last_lines: None,
        }
    }

    /// The same in another directory.
    #[must_use]
    pub fn within(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

/// One test of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// Name of its file.
    pub name: String,
    /// How it is run.
    pub invocation: Invocation,
}

/// What must be true of the running system after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The system that was built runs.
    Built,
    /// The profile names an earlier system than before, and that one runs.
    WentBack {
        /// The system that ran before.
        running: Option<String>,
        /// The system that the profile named before; another one than ran, after an activation that failed.
        profile: Option<String>,
        /// The number of that generation.
        number: Option<u64>,
    },
}

/// What a good switch leaves in the deployed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remember {
    /// The checkout's commit and the running system were deployed now.
    Deployed,
    /// The host went back to an earlier deployment: the one of this commit or, where systems are told apart, of
    /// the system that runs now.
    WentBack {
        /// The commit, where it is known beforehand.
        to: Option<Commit>,
    },
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Runs a program; it must exit with 0.
    Run(Invocation),
    /// Runs the first of these whose program is there: which, is known only when the steps before it are done.
    RunFirst(Vec<Invocation>),
    /// Runs `nix build --json`, reads its log, and keeps the path that it built.
    Build(Invocation),
    /// Runs what activates a system, reads nix's log from it, and when it fails looks how it left the host.
    Activate(Invocation),
    /// Compares the built system with the one that runs, and reports the difference.
    Compare,
    /// Runs the repository's own plan, and reports what it prints.
    RunPlan(Invocation),
    /// Runs what prints the store path that the checkout evaluates to, and reports it against what runs.
    Evaluate(Invocation),
    /// Runs what updates the lock, and reports which inputs moved.
    UpdateInputs {
        /// The inputs that were asked for; none for all.
        asked: Vec<String>,
        /// How.
        invocation: Invocation,
    },
    /// Removes what nothing refers to, and reports what that freed.
    CollectGarbage {
        /// How much may go.
        mode: GcMode,
        /// How.
        invocation: Invocation,
    },
    /// Runs the tests one by one, all of them.
    Tests(Vec<TestCase>),
    /// Makes the directory of our own clone, and marks it as ours before anything is in it.
    MakeClone,
    /// Removes our own clone, which is broken.
    RemoveClone,
    /// Removes `*.lock` files that a git that died left in our own clone.
    RemoveStaleLocks,
    /// Looks at the running system.
    Expect(Expectation),
    /// Writes the deployed record.
    Remember(Remember),
    /// Waits for the host to go down; its next boot is the success.
    AwaitReboot,
}

impl Action {
    /// Whether a stop can still prevent something when it comes before this. What only looks at what was done, or
    /// writes it down, does not change the truth by being left out; and a host that goes down goes down.
    pub const fn may_be_stopped(&self) -> bool {
        !matches!(self, Self::Expect(_) | Self::Remember(_) | Self::AwaitReboot)
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What failed when this fails.
    pub stage: Stage,
    /// The phase that people see: `fetch`, `build`, `activate`, `test`.
    pub phase: &'static str,
    /// What it does.
    pub action: Action,
}

impl Step {
    /// A step.
    pub const fn new(stage: Stage, phase: &'static str, action: Action) -> Self {
        Self { stage, phase, action }
    }
}

/// A plan that can't be made, in a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What failed.
    pub stage: Stage,
    /// Why, and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self { stage, message: message.into() }
    }
}

impl From<BadArgs> for Refusal {
    fn from(error: BadArgs) -> Self {
        // The agent refuses such a command before it takes it; so this is one that an older agent took.
        Self::new(Stage::Interrupted, error.to_string())
    }
}
