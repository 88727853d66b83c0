//! `nixfleet hash-password`: asks without echo, twice, or reads one line of standard input; writes the bcrypt hash.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{AdminError, system};
use crate::cli::output;
use crate::config::Secret;

/// Work factor: a fifth of a second on a small server.
const COST: u32 = 12;
/// bcrypt reads no more than this.
const LONGEST: usize = 72;

/// Runs it.
pub fn run() -> Result<(), AdminError> {
    let password = if io::stdin().is_terminal() { ask_twice()? } else { read_line()? };
    output::line(&hash(&password, COST)?);
    Ok(())
}

/// The hash of a password that is neither empty nor longer than bcrypt reads.
pub fn hash(password: &Secret, cost: u32) -> Result<String, AdminError> {
    let length = password.expose().len();
    if length == 0 {
        return Err(AdminError::Asked("the password is empty".to_owned()));
    }
    if length > LONGEST || password.expose().contains('\0') {
        return Err(AdminError::Asked(format!(
            "the password must have at most {LONGEST} bytes, and none of them zero"
        )));
    }
    Ok(bcrypt::hash(password.expose(), cost)?)
}

fn read_line() -> Result<Secret, AdminError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(system("standard input"))?;
    Ok(Secret::new(line.trim_end_matches(['\n', '\r'])))
}

fn ask_twice() -> Result<Secret, AdminError> {
    let password = ask("Password: ")?;
    if !password.is(ask("Again: ")?.expose()) {
        return Err(AdminError::Asked("the two are not the same".to_owned()));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<Secret, AdminError> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush()).map_err(system("the terminal"))?;
    let _silence = Silence::begin()?;
    let line = read_line();
    terminal.write_all(b"\n").map_err(system("the terminal"))?;
    line
}

/// No echo until it is dropped.
struct Silence {
    before: rustix::termios::Termios,
}

impl Silence {
    fn begin() -> Result<Self, AdminError> {
        let failed = |error: rustix::io::Errno| system("the terminal")(error.into());
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).is_err() {
            output::note("the terminal keeps its echo off: type `reset`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_one_that_the_daemon_takes() {
        let hashed = hash(&Secret::new("correct horse"), 4).unwrap();
        assert!(hashed.parse::<bcrypt::HashParts>().is_ok());
        assert!(bcrypt::verify("correct horse", &hashed).unwrap());
        assert!(!bcrypt::verify("wrong horse", &hashed).unwrap());
    }

    #[test]
    fn what_bcrypt_would_cut_is_refused() {
        for bad in [String::new(), "a".repeat(73), "a\0b".to_owned()] {
            assert!(hash(&Secret::new(bad), 4).is_err());
        }
        assert!(hash(&Secret::new("a".repeat(72)), 4).is_ok());
    }
}
