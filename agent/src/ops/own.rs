//! The ops that need no plan of steps: what they take, who may ask for them, and the vectors that they run. Pure.
//!
//! Asked twice: at the agent's door, so that a refusal is an answer and not a command that failed, and by the
//! runner, which trusts nobody. [`crate::runner::own`] carries them out.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::HostType;
use serde_json::Value;

use crate::record::HostSettings;

/// These ops.
pub const OPS: &[Op] = &[Op::CheckVersion, Op::RefreshLock, Op::Exec, Op::Journal];

/// Lines of a journal, unless it is said how many.
const LINES: u64 = 100;
/// The most lines of a journal that are read back.
const MOST_LINES: u64 = 100_000;
/// The longest name of a unit, as systemd has it.
const UNIT: usize = 255;
/// The most words of a command, and the most bytes of all of them together.
const WORDS: (usize, usize) = (1000, 64 * 1024);

/// Whether a command with these ops takes the host's slot. One that only reads the journal runs beside others.
pub fn takes_slot(ops: &[Op]) -> bool {
    ops.is_empty() || ops.iter().any(|op| *op != Op::Journal)
}

/// Whether it must wait for others that change the system or the checkout. What only looks does not; nor does
/// a reboot that an old dashboard ordered, which may come at any time.
pub fn takes_locks(ops: &[Op], legacy: bool) -> bool {
    let looks = |op: &Op| matches!(op, Op::CheckVersion | Op::RefreshLock | Op::Journal);
    !(ops.iter().all(looks) && !ops.is_empty() || legacy && matches!(ops, [Op::Reboot]))
}

/// Why an order can't be taken, in a sentence that begins with a code; `None` for a good one.
pub fn refusal(ops: &[Op], args: Option<&Value>, host: &HostSettings) -> Option<String> {
    if ops.contains(&Op::Exec) {
        return if host.allow_exec { exec_argv(args).err() } else { Some(EXEC_DISABLED.to_owned()) };
    }
    if ops.contains(&Op::Journal) { Wanted::of(args).err() } else { None }
}

/// The words for a host that does not allow `exec`.
pub const EXEC_DISABLED: &str =
    "exec_disabled: this host does not run commands from afar: set NIXFLEET_ALLOW_EXEC=1 there to allow it";

/// The argument vector of `exec`: `{"argv": ["program", "argument", …]}`. Never a shell's line.
pub fn exec_argv(args: Option<&Value>) -> Result<Vec<String>, String> {
    let bad = |why: &str| Err(format!("bad_args: exec takes argv, a list of texts: {why}"));
    let Some(Value::Array(list)) = args.and_then(|args| args.get("argv")) else { return bad("there is none") };
    let mut vector = Vec::with_capacity(list.len());
    for value in list {
        match value.as_str() {
            Some(text) if !text.contains('\0') => vector.push(text.to_owned()),
            Some(_) => return bad("a text holds a zero byte"),
            None => return bad("something in it is no text"),
        }
    }
    if vector.first().is_none_or(|program| program.trim().is_empty()) {
        return bad("it names no program");
    }
    if vector.len() > WORDS.0 || vector.iter().map(String::len).sum::<usize>() > WORDS.1 {
        return bad("it is too long");
    }
    Ok(vector)
}

/// What is wanted of the journal: `{"unit": "nginx.service", "lines": 100, "follow": false}`, all of it optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose lines; `None` is everybody's.
    pub unit: Option<String>,
    /// How many lines back.
    pub lines: u64,
    /// Whether it goes on with what comes.
    pub follow: bool,
}

impl Wanted {
    /// Reads the arguments.
    pub fn of(args: Option<&Value>) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("bad_args: {why}"));
        let field = |name: &str| args.and_then(|args| args.get(name)).filter(|value| !value.is_null());
        if args.is_some_and(|args| !args.is_object() && !args.is_null()) {
            return bad("journal takes unit, lines and follow");
        }
        let unit = match field("unit") {
            None => None,
            Some(Value::String(unit)) if is_unit(unit) => Some(unit.clone()),
            Some(_) => return bad("unit must be the name of a unit: letters, digits and :-_.\\@"),
        };
        let lines = match field("lines").map(Value::as_u64) {
            None => LINES,
            Some(Some(lines)) if lines <= MOST_LINES => lines,
            Some(_) => return bad("lines must be a number up to 100000"),
        };
        let follow = match field("follow").map(Value::as_bool) {
            None => false,
            Some(Some(follow)) => follow,
            Some(None) => return bad("follow must be true or false"),
        };
        Ok(Self { unit, lines, follow })
    }

    /// The vector that reads it.
    pub fn argv(&self, system: HostType) -> Vec<String> {
        match system {
            HostType::Macos => self.macos(),
            HostType::Nixos | HostType::Linux | HostType::Other => self.systemd(),
        }
    }

    fn systemd(&self) -> Vec<String> {
        let mut argv: Vec<String> = ["journalctl", "--no-pager", "--output=short-iso"].map(str::to_owned).into();
        argv.push(format!("--lines={}", self.lines));
        if self.follow {
            argv.push("--follow".into());
        }
        // With `=`, so that no name can be an option; the name itself has no wildcard.
        argv.extend(self.unit.as_ref().map(|unit| format!("--unit={unit}")));
        argv
    }

    /// The unified log of a Mac knows no number of lines: its last hour is read, and [`Self::lines`] are kept of it.
    fn macos(&self) -> Vec<String> {
        let verb: &[&str] = if self.follow {
            &["stream", "--style", "compact"]
        } else {
            &["show", "--style", "compact", "--last", "1h"]
        };
        let mut argv = vec!["/usr/bin/log".to_owned()];
        argv.extend(verb.iter().map(|word| (*word).to_owned()));
        if let Some(unit) = &self.unit {
            // A unit's name holds neither quote nor space; a backslash would escape in the predicate.
            let unit = unit.replace('\\', "\\\\");
            argv.push("--predicate".into());
            argv.push(format!("subsystem == \"{unit}\" OR process == \"{unit}\""));
        }
        argv
    }

    /// How many of the program's last lines are kept, where the program itself can't be told.
    pub const fn kept(&self, system: HostType) -> Option<u64> {
        if matches!(system, HostType::Macos) && !self.follow { Some(self.lines) } else { None }
    }
}

/// Whether a text can be the name of a unit. systemd's own alphabet, and no option.
fn is_unit(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !text.is_empty() && text.len() <= UNIT && !text.starts_with('-') && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests_support::settings;
    use nixfleet_protocol::agent::Platform;
    use serde_json::json;

    #[test]
    fn only_what_reads_the_journal_takes_no_slot_and_what_only_looks_takes_no_lock() {
        for (ops, legacy, slot, locks) in [
            (&[Op::Journal][..], false, false, false),
            (&[Op::CheckVersion], false, true, false),
            (&[Op::RefreshLock], false, true, false),
            (&[Op::RefreshLock, Op::RefreshGit], true, true, true),
            (&[Op::Exec], false, true, true),
            (&[Op::Switch], false, true, true),
            (&[Op::Reboot], false, true, true),
            (&[Op::Reboot], true, true, false),
            (&[], false, true, true),
        ] {
            assert_eq!((takes_slot(ops), takes_locks(ops, legacy)), (slot, locks), "{ops:?} {legacy}");
        }
    }

    #[test]
    fn exec_is_a_vector_and_must_be_allowed() {
        let mut host = settings(Platform::Script);
        let args = json!({ "argv": ["echo", "a b", "$(id)"] });
        assert!(refusal(&[Op::Exec], Some(&args), &host).unwrap().starts_with("exec_disabled"));
        host.allow_exec = true;
        assert_eq!(refusal(&[Op::Exec], Some(&args), &host), None);
        assert_eq!(exec_argv(Some(&args)).unwrap(), ["echo", "a b", "$(id)"]);
        for bad in [
            json!({}),
            json!({ "argv": [] }),
            json!({ "argv": "id" }),
            json!({ "argv": [""] }),
            json!({ "argv": ["a", 1] }),
            json!({ "argv": ["a\0b"] }),
            json!({ "argv": vec!["x"; 1001] }),
        ] {
            assert!(exec_argv(Some(&bad)).unwrap_err().starts_with("bad_args"), "{bad}");
        }
        assert!(exec_argv(None).is_err());
    }

    #[test]
    fn a_journal_is_asked_for_by_a_checked_vector() {
        let argv = |args: Value, system| Wanted::of(Some(&args)).map(|wanted| wanted.argv(system).join(" "));
        let linux = |args| argv(args, HostType::Linux);
        assert_eq!(linux(json!({})).unwrap(), "journalctl --no-pager --output=short-iso --lines=100");
        assert_eq!(
            linux(json!({ "unit": "a-b@x\\x2dy.service", "lines": 5, "follow": true })).unwrap(),
            "journalctl --no-pager --output=short-iso --lines=5 --follow --unit=a-b@x\\x2dy.service"
        );
        assert_eq!(
            argv(json!({ "unit": "sshd" }), HostType::Macos).unwrap(),
            "/usr/bin/log show --style compact --last 1h --predicate subsystem == \"sshd\" OR process == \"sshd\""
        );
        assert_eq!(argv(json!({ "follow": true }), HostType::Macos).unwrap(), "/usr/bin/log stream --style compact");
        for bad in [
            json!({ "unit": "" }),
            json!({ "unit": "-x" }),
            json!({ "unit": "a b" }),
            json!({ "unit": "a*" }),
            json!({ "unit": "a;id" }),
            json!({ "unit": "a\" OR 1" }),
            json!({ "unit": "../a" }),
            json!({ "unit": "x".repeat(256) }),
            json!({ "unit": 7 }),
            json!({ "lines": -1 }),
            json!({ "lines": 100_001 }),
            json!({ "follow": "yes" }),
            json!([]),
        ] {
            assert!(linux(bad.clone()).unwrap_err().starts_with("bad_args"), "{bad}");
        }
        assert_eq!(Wanted::of(None).unwrap(), Wanted { unit: None, lines: 100, follow: false });
    }
}
