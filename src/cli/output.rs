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

/// A value as JSON, for standard output.
pub fn json(value: &impl serde::Serialize) {
    // What is shown this way consists of texts and numbers, which JSON always knows.
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Writes over the last line of standard error, which is a terminal.
pub fn over(text: &str) {
    let mut to = io::stderr().lock();
    // Nobody is left to tell when this fails.
    let _gone = write!(to, "\r\u{1b}[K{text}").and_then(|()| to.flush());
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "bytes");
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
