//! The command line: no argument runs the agent. The hidden mode `run-command <folder>` is the runner.
//!
//! Parsed by hand: four words do not need a parser that costs more memory than the agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::machine::Machine;
use crate::config::{self, Config, LogSettings, Problems, check};
use crate::{agent, launch, runner};

const HELP: &str = "\
nixfleet-agent: the agent of NixFleet

Usage: nixfleet-agent [--check | --version | --help]

  (no argument)  connect to the dashboard and carry out what it says
  --check        prove the configuration on this machine, and say what is wrong
  --version      print the version
  --help         print this

It is configured by environment variables: NIXFLEET_URL, NIXFLEET_TOKEN_FILE (or NIXFLEET_TOKEN), and
NIXFLEET_REPO_URL or NIXFLEET_REPO_DIR are needed. The others stand in the manual.
";

/// What the process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Be the agent.
    Run,
    /// Prove the configuration.
    Check,
    /// Print the version.
    Version,
    /// Print the help.
    Help,
    /// Carry out the command of this folder.
    Runner(PathBuf),
}

/// Reads the arguments, without the program's name.
pub fn mode(arguments: &[OsString]) -> Result<Mode, String> {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words[..] {
        [] => Ok(Mode::Run),
        ["--check"] => Ok(Mode::Check),
        ["--version" | "-V"] => Ok(Mode::Version),
        ["--help" | "-h"] => Ok(Mode::Help),
        [launch::MODE, _] => Ok(Mode::Runner(PathBuf::from(&arguments[1]))),
        _ => Err(format!("unknown arguments: {}; try --help", words.join(" "))),
    }
}

fn say(text: &str) {
    // Nobody to tell when even that fails.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The whole program.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match mode(&arguments) {
        Ok(Mode::Run) => run_agent(),
        Ok(Mode::Check) => run_check(),
        Ok(Mode::Version) => {
            let commit = crate::facts::SOURCE_COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
            say(&format!("nixfleet-agent {}{commit}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Ok(Mode::Help) => {
            say(HELP);
            ExitCode::SUCCESS
        }
        Ok(Mode::Runner(dir)) => run_runner(&dir),
        Err(problem) => {
            complain(&problem);
            ExitCode::from(2)
        }
    }
}

/// Our variables; one that is no text is as good as absent.
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn configuration() -> Result<(Config, Vec<String>), Problems> {
    let variables = variables();
    config::read(&variables, &Machine::look(&variables))
}

fn run_check() -> ExitCode {
    let (config, warnings) = match configuration() {
        Ok(read) => read,
        Err(problems) => {
            complain(&problems.to_string());
            return ExitCode::FAILURE;
        }
    };
    let found = check::check(&config);
    for (sign, texts) in [("ok     ", &found.good), ("warning", &warnings), ("wrong  ", &found.bad)] {
        for text in texts {
            say(&format!("{sign} {text}\n"));
        }
    }
    if found.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn log(settings: LogSettings) {
    let builder = tracing_subscriber::fmt().with_max_level(settings.level).with_writer(io::stderr).with_ansi(false);
    if settings.json { builder.json().init() } else { builder.init() }
}

fn run_agent() -> ExitCode {
    let (config, warnings) = match configuration() {
        Ok(read) => read,
        Err(problems) => {
            complain(&problems.to_string());
            return ExitCode::FAILURE;
        }
    };
    log(config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let lived = runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(agent::live(config, &variables())));
    match lived {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{}", crate::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run_runner(dir: &std::path::Path) -> ExitCode {
    let run = match runtime() {
        Ok(runtime) => runtime.block_on(runner::run(dir)),
        Err(error) => Err(runner::RunnerError::Folder(dir.display().to_string(), error)),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&crate::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // The names of hosts are looked up on a thread of their own; one is enough.
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_modes() {
        for (words, wanted) in [
            (&[][..], Some(Mode::Run)),
            (&["--check"], Some(Mode::Check)),
            (&["--version"], Some(Mode::Version)),
            (&["--help"], Some(Mode::Help)),
            (&["run-command", "/x"], Some(Mode::Runner("/x".into()))),
            (&["run-command"], None),
            (&["--check", "--help"], None),
            (&["serve"], None),
        ] {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(mode(&arguments).ok(), wanted, "{words:?}");
        }
    }
}
