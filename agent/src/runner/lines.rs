//! From the bytes of a stream to lines fit for a log. Pure, and indifferent to how the bytes were cut into reads.
//!
//! A line ends at LF, CR LF, or a lone CR (progress bars). One over 64 KiB is cut into pieces, never lost. Bytes
//! that are no UTF-8 are replaced. Of escape sequences the colours (SGR) stay; all others, and control characters
//! save the tab, are dropped.

use nixfleet_protocol::log::MAX_LINE;

/// The longest colour sequence that is kept; a longer one is no colour.
const MAX_SGR: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Escape {
    /// Plain text.
    #[default]
    None,
    /// After ESC.
    Begun,
    /// In `ESC [ …`, with what was read of it.
    Control(String),
    /// In a string sequence (OSC, DCS, APC, PM, SOS), until BEL or the next ESC.
    Text,
    /// After `ESC` and an intermediate byte: one more byte belongs to it.
    Charset,
}

/// One stream's state between reads.
#[derive(Debug, Default)]
pub struct Lines {
    line: String,
    /// Bytes at the end of a read that may become a character with the next one.
    rest: Vec<u8>,
    escape: Escape,
    /// The last line ended at CR: an LF right behind it is the same end.
    after_return: bool,
    /// The line so far was cut, so even an empty rest belongs to it.
    cut: bool,
}

impl Lines {
    /// Takes bytes and gives each line, or piece of one, with whether it goes on.
    pub fn push(&mut self, bytes: &[u8], mut give: impl FnMut(&str, bool)) {
        let joined;
        let mut left = if self.rest.is_empty() {
            bytes
        } else {
            self.rest.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.rest);
            &joined
        };
        loop {
            match std::str::from_utf8(left) {
                Ok(text) => {
                    self.text(text, &mut give);
                    return;
                }
                Err(error) => {
                    let (good, bad) = left.split_at(error.valid_up_to());
                    self.text(std::str::from_utf8(good).unwrap_or_default(), &mut give);
                    let Some(length) = error.error_len() else {
                        self.rest = bad.to_vec();
                        return;
                    };
                    self.text("\u{fffd}", &mut give);
                    left = &bad[length..];
                }
            }
        }
    }

    /// The stream ended: gives what is left of the last line.
    pub fn finish(&mut self, mut give: impl FnMut(&str, bool)) {
        if !std::mem::take(&mut self.rest).is_empty() {
            self.text("\u{fffd}", &mut give);
        }
        self.escape = Escape::None;
        if !self.line.is_empty() || self.cut {
            give(&self.line, false);
        }
        *self = Self::default();
    }

    fn text(&mut self, mut text: &str, give: &mut impl FnMut(&str, bool)) {
        while !text.is_empty() {
            // Most of what commands print needs no second look.
            let plain = if self.escape == Escape::None { plain_length(text) } else { 0 };
            if plain > 0 {
                self.after_return = false;
                self.append(&text[..plain], give);
                text = &text[plain..];
                continue;
            }
            let mut chars = text.chars();
            if let Some(c) = chars.next() {
                self.special(c, give);
            }
            text = chars.as_str();
        }
    }

    fn special(&mut self, c: char, give: &mut impl FnMut(&str, bool)) {
        // A line end ends everything: no sequence may swallow the lines behind it.
        if c == '\n' || c == '\r' {
            self.escape = Escape::None;
            if !(c == '\n' && self.after_return) {
                give(&self.line, false);
                self.line.clear();
                self.cut = false;
            }
            self.after_return = c == '\r';
            return;
        }
        self.after_return = false;
        match (std::mem::take(&mut self.escape), c) {
            // Inside a string sequence this is its end; `\` behind it is dropped like any other short escape.
            (_, '\u{1b}') => self.escape = Escape::Begun,
            (Escape::None, c) => {
                if !c.is_control() || c == '\t' {
                    self.append(c.encode_utf8(&mut [0; 4]), give);
                }
            }
            (Escape::Begun, '[') => self.escape = Escape::Control(String::new()),
            (Escape::Begun, ']' | 'P' | 'X' | '^' | '_') => self.escape = Escape::Text,
            (Escape::Begun, ' '..='/') => self.escape = Escape::Charset,
            (Escape::Text, c) if c != '\u{7}' => self.escape = Escape::Text,
            (Escape::Control(body), 'm') if body.bytes().all(|b| matches!(b, b'0'..=b'9' | b';' | b':')) => {
                self.append(&format!("\u{1b}[{body}m"), give);
            }
            (Escape::Control(mut body), ' '..='?') if body.len() < MAX_SGR => {
                body.push(c);
                self.escape = Escape::Control(body);
            }
            (Escape::Begun | Escape::Control(_) | Escape::Text | Escape::Charset, _) => {}
        }
    }

    fn append(&mut self, mut text: &str, give: &mut impl FnMut(&str, bool)) {
        while self.line.len() + text.len() > MAX_LINE {
            let mut fits = MAX_LINE - self.line.len();
            while !text.is_char_boundary(fits) {
                fits -= 1;
            }
            self.line.push_str(&text[..fits]);
            text = &text[fits..];
            give(&self.line, true);
            self.line.clear();
            self.cut = true;
        }
        self.line.push_str(text);
    }
}

/// How much of the beginning of a text is neither control character nor escape.
fn plain_length(text: &str) -> usize {
    text.bytes().position(|b| (b < 0x20 && b != b'\t') || b == 0x7f || b == 0xc2).unwrap_or(text.len())
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod lines_tests;
