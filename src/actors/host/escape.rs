//! Escape sequences: of what programs print only SGR (colours) stays. Everything else could move the cursor,
//! change a title, or worse, where a log is shown in a terminal.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// The text with its colours, without any other control sequence or control character.
pub(super) fn only_sgr(text: &str) -> Cow<'_, str> {
    if !text.chars().any(dropped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars, &mut out),
            // The one-character form of ESC [.
            '\u{9b}' => sequence(&mut chars, &mut out),
            c if dropped(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn dropped(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn escape(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            sequence(chars, out);
        }
        // A text for the terminal: to its end, which is BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    return;
                }
            }
        }
        // Two characters, with others in between where it selects a character set.
        Some(_) => {
            while chars.next_if(|c| ('\u{20}'..='\u{2f}').contains(c)).is_some() {}
            chars.next_if(|c| ('\u{30}'..='\u{7e}').contains(c));
        }
        None => {}
    }
}

/// What follows on ESC [: parameters, and one letter that says what it is.
fn sequence(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)) {
        parameters.push(c);
    }
    let Some(last) = chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c)) else { return };
    if last == 'm' && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') {
        out.push_str("\u{1b}[");
        out.push_str(&parameters);
        out.push('m');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_everything_else_goes() {
        for (given, kept) in [
            ("plain\tät", "plain\tät"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[2J\u{1b}[Hx", "x"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://a\u{1b}\\x", "x"),
            ("\u{1b}(Bx\u{1b}cy\u{1b}", "xy"),
            ("a\u{8}\u{0}b\u{9b}31mc", "ab\u{1b}[31mc"),
            ("\u{1b}[?25lx\u{1b}[>1my", "xy"),
            ("\u{1b}[31", ""),
        ] {
            assert_eq!(only_sgr(given), kept, "{given:?}");
        }
    }
}
