//! Colours of output: SGR sequences. A [`Pen`] is how text is written at one place of a log; it goes on from line to
//! line. There are 16 colours; the other 240 and true colours become the nearest of those.

/// How text is written: its colours and styles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pen {
    fore: Option<u8>,
    back: Option<u8>,
    styles: u8,
}

/// A style of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Strong.
    Bold = 1,
    /// Faint.
    Dim = 2,
    /// Slanted.
    Italic = 4,
    /// With a line below.
    Underline = 8,
    /// With a line through it.
    Strike = 16,
    /// Foreground and background change places.
    Reverse = 32,
}

impl Pen {
    /// Nothing is set.
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// Foreground, 0 to 15.
    pub const fn fore(self) -> Option<u8> {
        self.fore
    }

    /// Background, 0 to 15.
    pub const fn back(self) -> Option<u8> {
        self.back
    }

    /// Whether it has a style.
    pub const fn has(self, style: Style) -> bool {
        self.styles & style as u8 != 0
    }

    /// The pieces of a line, each with the pen that it is written with. The pen goes on to the next line.
    pub fn pieces<'a>(&mut self, line: &'a str, mut piece: impl FnMut(&'a str, Pen)) {
        let mut put = |text: &'a str, pen| {
            if !text.is_empty() {
                piece(text, pen);
            }
        };
        let mut rest = line;
        while let Some(at) = rest.find("\u{1b}[") {
            let codes = &rest[at + 2..];
            let end = codes.find(|c: char| !(c.is_ascii_digit() || matches!(c, ';' | ':'))).unwrap_or(codes.len());
            if codes[end..].starts_with('m') {
                put(&rest[..at], *self);
                self.apply(&codes[..end]);
                rest = &codes[end + 1..];
            } else {
                // No colour; others drop such sequences before they come here.
                put(&rest[..at + 2], *self);
                rest = codes;
            }
        }
        put(rest, *self);
    }

    /// Passes a line without looking at its text.
    pub fn pass(&mut self, line: &str) {
        self.pieces(line, |_, _| {});
    }

    fn set(&mut self, style: Style, on: bool) {
        self.styles = if on { self.styles | style as u8 } else { self.styles & !(style as u8) };
    }

    fn apply(&mut self, codes: &str) {
        let codes: Vec<u16> = codes.split([';', ':']).map(|code| code.parse().unwrap_or(0)).collect();
        let mut at = 0;
        while let Some(code) = codes.get(at).copied() {
            match code {
                0 => *self = Self::default(),
                1 => self.set(Style::Bold, true),
                2 => self.set(Style::Dim, true),
                3 => self.set(Style::Italic, true),
                4 => self.set(Style::Underline, true),
                7 => self.set(Style::Reverse, true),
                9 => self.set(Style::Strike, true),
                22 => {
                    self.set(Style::Bold, false);
                    self.set(Style::Dim, false);
                }
                23 => self.set(Style::Italic, false),
                24 => self.set(Style::Underline, false),
                27 => self.set(Style::Reverse, false),
                29 => self.set(Style::Strike, false),
                30..=37 => self.fore = number(code - 30),
                90..=97 => self.fore = number(code - 82),
                40..=47 => self.back = number(code - 40),
                100..=107 => self.back = number(code - 92),
                39 => self.fore = None,
                49 => self.back = None,
                38 | 48 => {
                    let rest = &codes[at + 1..];
                    let (color, taken) = match *rest {
                        [5, color, ..] => (indexed(color), 2),
                        [2, r, g, b, ..] => (nearest(r, g, b), 4),
                        _ => return,
                    };
                    *(if code == 38 { &mut self.fore } else { &mut self.back }) = Some(color);
                    at += taken;
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn number(color: u16) -> Option<u8> {
    u8::try_from(color).ok()
}

/// A colour of the 256.
fn indexed(color: u16) -> u8 {
    let level = |step: u16| if step == 0 { 0 } else { step * 40 + 55 };
    match color {
        0..16 => number(color).unwrap_or_default(),
        16..232 => {
            let cube = color - 16;
            nearest(level(cube / 36), level(cube % 36 / 6), level(cube % 6))
        }
        232.. => {
            let grey = (color - 232).min(23) * 10 + 8;
            nearest(grey, grey, grey)
        }
    }
}

/// The nearest of the 16: which of red, green and blue are strong, and whether it is bright.
fn nearest(r: u16, g: u16, b: u16) -> u8 {
    let (top, low) = (r.max(g).max(b), r.min(g).min(b));
    if top - low < 32 {
        return match top {
            0..48 => 0,
            48..128 => 8,
            128..208 => 7,
            208.. => 15,
        };
    }
    let strong = |value: u16| u8::from(u32::from(value) * 10 > u32::from(top) * 6);
    (strong(r) | (strong(g) << 1) | (strong(b) << 2)) + if top > 200 { 8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str, pen: &mut Pen) -> Vec<String> {
        let mut out = Vec::new();
        pen.pieces(line, |text, pen| {
            let color = |letter: char, color: Option<u8>| color.map(|color| format!("{letter}{color} "));
            let style = |letter: &str, style| pen.has(style).then(|| format!("{letter} "));
            let names = [
                color('f', pen.fore()),
                color('g', pen.back()),
                style("b", Style::Bold),
                style("d", Style::Dim),
                style("i", Style::Italic),
                style("u", Style::Underline),
                style("s", Style::Strike),
                style("r", Style::Reverse),
            ];
            let names: String = names.into_iter().flatten().collect();
            out.push(if names.is_empty() { text.to_owned() } else { format!("[{}]{text}", names.trim_end()) });
        });
        out
    }

    fn fresh(line: &str) -> Vec<String> {
        read(line, &mut Pen::default())
    }

    #[test]
    fn colours_and_styles_are_read() {
        assert_eq!(fresh("plain <b>text</b>"), ["plain <b>text</b>"]);
        assert!(fresh("").is_empty());
        assert_eq!(fresh("\u{1b}[31;1merror:\u{1b}[0m no"), ["[f1 b]error:", " no"]);
        assert_eq!(fresh("\u{1b}[92mok\u{1b}[39m \u{1b}[43mx\u{1b}[49my"), ["[f10]ok", " ", "[g3]x", "y"]);
        assert_eq!(fresh("\u{1b}[2;3;4;9ma\u{1b}[22;23;24;29mb"), ["[d i u s]a", "b"]);
        assert_eq!(fresh("\u{1b}[1ma\u{1b}[mb"), ["[b]a", "b"], "an empty sequence resets");
        assert_eq!(fresh("\u{1b}[7;31ma\u{1b}[27mb"), ["[f1 r]a", "[f1]b"]);
    }

    #[test]
    fn a_colour_goes_on_in_the_next_line() {
        let mut pen = Pen::default();
        assert_eq!(read("\u{1b}[33mwarning", &mut pen), ["[f3]warning"]);
        assert_eq!(read("still\u{1b}[0m no more", &mut pen), ["[f3]still", " no more"]);
        assert!(pen.is_plain());
    }

    #[test]
    fn other_colours_become_the_nearest_of_the_sixteen() {
        for (codes, expected) in [
            ("38;5;9", "[f9]a"),
            ("38;5;196", "[f9]a"),
            ("38;5;28", "[f2]a"),
            ("38;2;20;20;220", "[f12]a"),
            ("48;5;244", "[g7]a"),
            ("38;5;21;1", "[f12 b]a"),
            ("38;5", "a"),
            ("38", "a"),
            ("999", "a"),
            (";;", "a"),
        ] {
            assert_eq!(fresh(&format!("\u{1b}[{codes}ma")), [expected], "{codes}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(line in "(\u{1b}\\[[0-9;:]{0,12}[mKé]|[a-é]{0,3})*") {
            let mut length = 0;
            Pen::default().pieces(&line, |piece, _| length += piece.len());
            prop_assert!(length <= line.len());
            let plain = !line.contains(char::from(0x1b));
            prop_assert!(!plain || length == line.len());
        }
    }
}
