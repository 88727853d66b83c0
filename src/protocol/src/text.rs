//! Somebody else's words. What a program printed is shown in a log with its colours and nothing else ([`only_sgr`]), and
//! may end in a sentence that people read on one line, as plain text ([`plain`]): there, an escape sequence is rubbish
//! at best.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// The text on one line, without escape sequences, control characters and marks that turn the direction of
/// writing. What separated lines or columns is one space. Done twice, it is the same.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut gap = false;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars, None),
            // The one-character form of ESC [.
            '\u{9b}' => sequence(&mut chars, None),
            '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => gap = true,
            c if c.is_control() || turns(c) => {}
            c => {
                if gap && !out.is_empty() && !out.ends_with(' ') && c != ' ' {
                    out.push(' ');
                }
                gap = false;
                out.push(c);
            }
        }
    }
    out
}

/// The same, cut to a number of characters.
pub fn plain_cut(text: &str, most: usize) -> String {
    let mut out = plain(text);
    if let Some((at, _)) = out.char_indices().nth(most) {
        out.truncate(at);
    }
    out
}

/// The same for each text within a value. Names of fields stay as they are.
pub fn plain_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain(text),
        Value::Array(items) => items.iter_mut().for_each(plain_value),
        Value::Object(fields) => fields.values_mut().for_each(plain_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with its colours, without any other control sequence or control character.
pub fn only_sgr(text: &str) -> Cow<'_, str> {
    if !text.chars().any(dropped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars, Some(&mut out)),
            // The one-character form of ESC [.
            '\u{9b}' => sequence(&mut chars, Some(&mut out)),
            c if dropped(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn dropped(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Marks that make a text read in another order than it is written.
const fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What follows on ESC. Colours go to `colours`, where they are wanted.
fn escape(chars: &mut Peekable<Chars<'_>>, colours: Option<&mut String>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            sequence(chars, colours);
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
fn sequence(chars: &mut Peekable<Chars<'_>>, colours: Option<&mut String>) {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)) {
        parameters.push(c);
    }
    let Some(last) = chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c)) else { return };
    if let Some(out) = colours
        && last == 'm'
        && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':')
    {
        out.push_str("\u{1b}[");
        out.push_str(&parameters);
        out.push('m');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn words_stay_and_the_rest_goes() {
        for (text, shown) in [
            ("\u{1b}[31;1merror:\u{1b}[0m no such attribute", "error: no such attribute"),
            ("\u{9b}1mbold\u{9b}0m", "bold"),
            ("\u{1b}[2K\u{1b}[?25lgone", "gone"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;https://x.org\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bcharset", "charset"),
            ("two\nlines\r\nand\ta tab", "two lines and a tab"),
            ("\r\nbell\u{7}\u{0}\u{8}\n", "bell"),
            ("turned\u{202e}fdp.exe", "turnedfdp.exe"),
            ("cut off \u{1b}[31", "cut off "),
            ("\u{1b}", ""),
            ("hörbar ✓ 😀", "hörbar ✓ 😀"),
            ("", ""),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
        assert_eq!(plain_cut("\u{1b}[1mabc", 2), "ab");
    }

    #[test]
    fn a_value_is_cleaned_wherever_a_text_stands() {
        let mut value = serde_json::json!({ "tests": [{ "name": "\u{1b}[1ma", "ok": true }], "n": 1 });
        plain_value(&mut value);
        assert_eq!(value, serde_json::json!({ "tests": [{ "name": "a", "ok": true }], "n": 1 }));
    }

    proptest! {
        #[test]
        fn nothing_but_words_gets_through(text in "[\u{1b}\u{9b}\\[\\];0-9mK a\u{7}\n\u{202e}ä]{0,40}") {
            let shown = plain(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(plain(&shown), shown);
        }
    }
}
