//! The witness: what the hosts' scripts themselves say of their lives, in a file that the product knows nothing of.
//!
//! What a script does follows from the command's id alone: how many lines, how fast, which exit code. So the whole
//! truth about a command can be told from its id and from the witness, without asking the product anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The parts of a command: one script of a switch, two of a test run.
pub(crate) const SWITCH: &[&str] = &["switch"];
/// The tests of each host.
pub(crate) const TESTS: &[&str] = &["10-first", "20-second"];

/// What a part of a command prints, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Pieces that are printed, with a line on standard error after each.
    pub(crate) blocks: u64,
    /// Lines on standard output in each.
    pub(crate) lines: u64,
    /// How it ends.
    pub(crate) code: i64,
}

impl Script {
    /// What this part of this command does. The same sum stands in [`ACT`].
    pub(crate) fn of(id: &str, part: &str) -> Self {
        let digits = id.get(30..36).and_then(|tail| u64::from_str_radix(tail, 16).ok()).unwrap_or_default();
        let x = digits + 7919 * part.len() as u64;
        let lines = 1 + (x / 5) % 60;
        Self {
            blocks: 1 + x % 8,
            lines: if (x / 300).is_multiple_of(10) { lines * 25 } else { lines },
            code: if (x / 3000).is_multiple_of(6) { 3 } else { 0 },
        }
    }

    /// How many lines on each stream when it comes to its end.
    pub(crate) const fn whole(&self) -> [u64; 2] {
        [self.blocks * self.lines, self.blocks]
    }
}

/// The script; `@witness@` is the folder of the witness files. Each word goes there with one write.
pub(crate) const ACT: &str = r#"
part=$1
id=$NIXFLEET_COMMAND_ID
witness=@witness@/$NIXFLEET_HOST
echo "begin $id $part" >> "$witness"
x=$((0x${id#????????-????-????-????-??????} + 7919 * ${#part}))
blocks=$((1 + x % 8))
lines=$((1 + x / 5 % 60))
[ $((x / 300 % 10)) != 0 ] || lines=$((lines * 25))
code=0
[ $((x / 3000 % 6)) != 0 ] || code=3
pause=$((x / 18000 % 4))
n=0
while [ $n -lt $blocks ]; do
    seq -f "o %.0f $part $id" $((n * lines + 1)) $((n * lines + lines))
    n=$((n + 1))
    echo "e $n $part $id" >&2
    echo "printed $id $part $n" >> "$witness"
    [ $pause = 0 ] || sleep 0.$((pause * 12))
done
echo "end $id $part $code" >> "$witness"
exit $code
"#;

/// What the witness says of one part of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often it began.
    pub(crate) begun: u32,
    /// Blocks that it had printed when it was last heard.
    pub(crate) blocks: u64,
    /// How it ended, when it did.
    pub(crate) code: Option<i64>,
}

/// All that a host's scripts said: by command, by part.
pub(crate) type Witness = BTreeMap<String, BTreeMap<String, Seen>>;

/// Reads a host's witness. A host whose scripts never ran has none.
pub(crate) fn read(path: &Path) -> Witness {
    parse(&fs::read_to_string(path).unwrap_or_default())
}

fn parse(text: &str) -> Witness {
    let mut all = Witness::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, id, part, rest @ ..] = words.as_slice() else { panic!("the witness says {line:?}") };
        let seen = all.entry((*id).to_owned()).or_default().entry((*part).to_owned()).or_default();
        match (*word, rest) {
            ("begin", []) => seen.begun += 1,
            ("printed", [n]) => seen.blocks = seen.blocks.max(n.parse().unwrap()),
            ("end", [code]) => seen.code = Some(code.parse().unwrap()),
            _ => panic!("the witness says {line:?}"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_does_what_its_id_says() {
        let dir = tempfile::tempdir().unwrap();
        let act = ACT.replace("@witness@", &dir.path().display().to_string());
        for (id, part) in [
            ("01890000-0000-7000-8000-0000000000ff", "switch"),
            ("01890000-0000-7000-8000-000000000001", "10-first"),
            ("01890000-0000-7000-8000-00000000002c", "20-second"),
        ] {
            let ran = Command::new("sh")
                .args(["-euc", &act, "act", part])
                .env("NIXFLEET_COMMAND_ID", id)
                .env("NIXFLEET_HOST", "h")
                .output()
                .unwrap();
            let script = Script::of(id, part);
            let printed = [&ran.stdout, &ran.stderr].map(|text| text.split(|byte| *byte == b'\n').count() as u64 - 1);
            assert_eq!(printed, script.whole(), "{id} {part}");
            assert_eq!(ran.status.code().map(i64::from), Some(script.code));
            let seen = &read(&dir.path().join("h"))[id][part];
            assert_eq!(*seen, Seen { begun: 1, blocks: script.blocks, code: Some(script.code) });
        }
    }
}
