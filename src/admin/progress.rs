//! How far it is, for a person at a terminal; nothing for a script.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::cli::output;

/// How often it is shown anew.
const EVERY: Duration = Duration::from_millis(200);

/// One line that is written over and over.
pub(super) struct Progress {
    what: &'static str,
    terminal: bool,
    shown: Cell<Option<Instant>>,
    bytes: Cell<u64>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, terminal: io::stderr().is_terminal(), shown: Cell::new(None), bytes: Cell::new(0) }
    }

    /// So many bytes are done.
    pub(super) fn at(&mut self, bytes: u64) {
        self.show(bytes);
    }

    fn show(&self, bytes: u64) {
        self.bytes.set(bytes);
        if self.terminal && self.shown.get().is_none_or(|at| at.elapsed() >= EVERY) {
            self.shown.set(Some(Instant::now()));
            output::over(&format!("{} {}", output::size(bytes), self.what));
        }
    }

    /// Leaves an empty line.
    pub(super) fn end(&self) {
        if self.shown.get().is_some() {
            output::over("");
        }
    }

    /// Counts what goes through.
    pub(super) fn over<W: Write>(&self, out: W) -> Counted<'_, W> {
        Counted { progress: self, out }
    }
}

/// A writer that is counted.
pub(super) struct Counted<'a, W> {
    progress: &'a Progress,
    out: W,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.progress.show(self.progress.bytes.get() + written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
