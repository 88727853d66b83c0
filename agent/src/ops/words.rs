//! The words of old dashboards, and what they mean in ops. Pure.
//!
//! Such a dashboard knows neither ids nor arguments, and has words for several ops at once. `stop` and `kill` are
//! no ops: the session acts on them, at any time.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;
use serde_json::{Value, json};

/// Each word with its ops, in order.
const WORDS: &[(&str, &[Op])] = &[
    ("pull", &[Op::Pull]),
    ("switch", &[Op::Switch]),
    ("pull-switch", &[Op::Pull, Op::Switch]),
    ("test", &[Op::Test]),
    ("rollback", &[Op::Rollback]),
    ("restart", &[Op::Restart]),
    ("reboot", &[Op::Reboot]),
    ("check-version", &[Op::CheckVersion]),
    ("refresh-git", &[Op::RefreshGit]),
    ("refresh-lock", &[Op::RefreshLock]),
    ("refresh-system", &[Op::RefreshSystem]),
    ("refresh-all", &[Op::RefreshGit, Op::RefreshLock, Op::RefreshSystem]),
    ("update", &[Op::Pull, Op::BumpFlake, Op::Switch]),
    ("force-update", &[Op::ForceRebuild, Op::Restart]),
];

/// The ops of an old dashboard's word on this platform; `None` where one of them can't be done there.
pub fn meaning(word: &str, platform: Platform) -> Option<Vec<Op>> {
    let (_, ops) = WORDS.iter().find(|(known, _)| *known == word)?;
    // The remote is asked by the dashboard in our generation, and by the agent in the old one.
    let can = |op: &Op| super::is_supported(*op, platform) || *op == Op::RefreshGit;
    ops.iter().all(can).then(|| ops.to_vec())
}

/// The arguments that a word implies.
pub fn implied(word: &str) -> Option<Value> {
    (word == "update").then(|| json!({ "inputs": "all" }))
}

/// The ops that a runner carries out: a restart at their end is the agent's own, when it has told their result.
pub fn of_a_runner(ops: &[Op]) -> &[Op] {
    if restarts_afterwards(ops) { &ops[..ops.len() - 1] } else { ops }
}

/// Whether the agent makes room for a new process when a command with these ops has ended well.
pub fn restarts_afterwards(ops: &[Op]) -> bool {
    ops.len() > 1 && ops.last() == Some(&Op::Restart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_old_dashboards_is_understood_where_its_ops_are() {
        for (word, ops) in WORDS {
            assert_eq!(meaning(word, Platform::Nixos).as_deref(), Some(*ops), "{word}");
        }
        // A script has no inputs, no caches and no closure.
        for word in ["refresh-system", "refresh-all", "update", "force-update"] {
            assert_eq!(meaning(word, Platform::Script), None, "{word}");
        }
        for (word, ops) in [
            ("pull", Some(&[Op::Pull][..])),
            ("pull-switch", Some(&[Op::Pull, Op::Switch])),
            ("check-version", Some(&[Op::CheckVersion])),
            ("refresh-git", Some(&[Op::RefreshGit])),
            ("restart", Some(&[Op::Restart])),
            // Ops of ours that no old dashboard has.
            ("exec", None),
            ("journal", None),
            ("gc", None),
            ("dance", None),
            ("", None),
        ] {
            assert_eq!(meaning(word, Platform::Script).as_deref(), ops, "{word}");
        }
    }

    #[test]
    fn a_restart_at_the_end_of_several_ops_comes_after_them() {
        assert!(restarts_afterwards(&[Op::ForceRebuild, Op::Restart]));
        assert!(!restarts_afterwards(&[Op::Restart]) && !restarts_afterwards(&[Op::Pull, Op::Switch]));
        assert_eq!(of_a_runner(&[Op::ForceRebuild, Op::Restart]), [Op::ForceRebuild]);
        assert_eq!(of_a_runner(&[Op::Pull, Op::Switch]), [Op::Pull, Op::Switch]);
        assert_eq!(of_a_runner(&[]), []);
    }
}
