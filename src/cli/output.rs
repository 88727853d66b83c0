//! The only place of the command lines that writes to the terminal. A reader that went away (`| head`) is no
//! error.

use std::io::{self, IsTerminal, Write};

/// A line for standard output.
pub fn line(text: &str) {
    write(&mut io::stdout().lock(), text);
}

/// A line for standard error: what is not the answer itself.
pub fn note(text: &str) {
    write(&mut io::stderr().lock(), text);
}

fn write(to: &mut impl Write, text: &str) {
    // Nobody is left to tell when this fails.
    let _gone = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Whether standard output is a terminal that takes colours.
pub fn colours() -> bool {
    io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The text in a colour, where colours are wanted.
pub fn painted(text: &str, colour: Colour, wanted: bool) -> String {
    if wanted { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
}

/// Colours of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Colour {
    /// Bold.
    Bold = 1,
    /// Faint.
    Dim = 2,
    /// Red.
    Red = 31,
    /// Green.
    Green = 32,
    /// Yellow.
    Yellow = 33,
    /// Blue.
    Blue = 34,
}
