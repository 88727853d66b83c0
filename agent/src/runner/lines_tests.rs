use super::*;
use proptest::prelude::*;

fn all(pieces: &[&[u8]]) -> Vec<(String, bool)> {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    for piece in pieces {
        lines.push(piece, |text, partial| out.push((text.to_owned(), partial)));
    }
    lines.finish(|text, partial| out.push((text.to_owned(), partial)));
    out
}

fn texts(bytes: &[u8]) -> Vec<String> {
    all(&[bytes]).into_iter().map(|(text, _)| text).collect()
}

#[test]
fn bytes_become_lines() {
    for (bytes, lines) in [
        (&b""[..], &[][..]),
        (b"a\nb\n", &["a", "b"]),
        (b"a\nb", &["a", "b"]),
        (b"\n\n", &["", ""]),
        (b"a\r\nb\r\n", &["a", "b"]),
        (b"10%\r20%\r", &["10%", "20%"]),
        (b"a\r\r\nb", &["a", "", "b"]),
        (b"\xff\xfe", &["\u{fffd}\u{fffd}"]),
        (b"a\x00b\x07c\td", &["abc\td"]),
        (b"\x1b[1;31mred\x1b[0m", &["\x1b[1;31mred\x1b[0m"]),
        (b"\x1b[2Kgone\x1b[?25l", &["gone"]),
        (b"\x1b]0;title\x07text", &["text"]),
        (b"\x1b]8;;http://x\x1b\\link", &["link"]),
        (b"\x1b(Btext\x1b=", &["text"]),
        (b"\x1b]never ended\nnext", &["", "next"]),
        (b"\x1b[31", &[]),
        ("ä€😀".as_bytes(), &["ä€😀"]),
        ("a\u{9b}31mb\u{85}c".as_bytes(), &["a31mbc"]),
        (b"\x1b\x1b[31mx", &["\x1b[31mx"]),
    ] {
        assert_eq!(texts(bytes), lines, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_long_line_is_cut_and_never_lost() {
    let long = "é".repeat(MAX_LINE);
    let pieces = all(&[long.as_bytes(), b"\nnext\n"]);
    assert!(pieces.iter().all(|(text, _)| text.len() <= MAX_LINE));
    let (next, line) = pieces.split_last().unwrap();
    assert_eq!(next, &("next".to_owned(), false));
    assert_eq!(line.iter().map(|(text, _)| text.as_str()).collect::<String>(), long);
    assert_eq!(line.iter().map(|(_, partial)| *partial).collect::<Vec<_>>(), [true, false]);
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_into_reads_makes_no_difference(
        bytes in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&b"\x1b[]m;0\r\n\x07\\ a\xc3\xa4"[..]),
            ],
            0..300,
        ),
        cuts in prop::collection::vec(0_usize..300, 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let lines = all(&pieces);
        prop_assert_eq!(&lines, &all(&[&bytes]));
        for (text, _) in lines {
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\t' && c != '\u{1b}'), "{:?}", text);
        }
    }
}
