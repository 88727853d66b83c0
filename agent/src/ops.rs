//! What each op does on each platform, as plans: lists of steps that a pure function makes from facts.
//!
//! ```text
//! order ─→ situation (looks at the disk) ─→ plan (pure) ─→ runner (carries the steps out, one by one)
//! ```
//!
//! The runner uses it; the agent asks it only which ops there are. A new op is an arm in [`plan::plan`] and a line
//! in [`SUPPORTED`]; what its plan needs to know is a field of [`situation::Situation`].

pub mod checkout;
pub mod deployed;
pub mod nix;
pub mod own;
pub mod plan;
pub mod script;
pub mod situation;
pub mod step;
pub mod words;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;

/// The ops that this agent carries out.
pub const SUPPORTED: &[Op] = &[Op::Pull, Op::Switch, Op::Test, Op::Rollback, Op::Restart, Op::Reboot];

/// What a word of a dashboard means, in ops; `None` for one that this agent does not know.
/// Old dashboards have words for several ops at once.
pub fn meaning(word: &str, legacy: bool) -> Option<Vec<Op>> {
    if legacy {
        return words::meaning(word);
    }
    let op = word.parse::<Op>().ok()?;
    (SUPPORTED.contains(&op) || own::OPS.contains(&op)).then(|| vec![op])
}

/// What the agent can do, for `register`: its ops by name, and `tests`. `exec` is named only where it is allowed.
pub fn features(allow_exec: bool) -> Vec<String> {
    let ops = SUPPORTED.iter().chain(own::OPS).filter(|op| allow_exec || **op != Op::Exec);
    ops.map(|op| op.as_str()).chain(["tests"]).map(str::to_owned).collect()
}

/// Whether an op may need to be root on this platform.
pub fn needs_root(ops: &[Op], platform: Platform) -> bool {
    let system = matches!(platform, Platform::Nixos | Platform::NixDarwin);
    ops.iter().any(|op| *op == Op::Reboot || system && matches!(op, Op::Switch | Op::Rollback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_ops() {
        for (word, legacy, ops) in [
            ("pull", false, Some(vec![Op::Pull])),
            ("pull-switch", true, Some(vec![Op::Pull, Op::Switch])),
            ("pull-switch", false, None),
            ("journal", false, Some(vec![Op::Journal])),
            ("journal", true, None),
            ("refresh-git", false, None),
            ("merge-pr", false, None),
            ("rm -rf /", false, None),
            ("", false, None),
        ] {
            assert_eq!(meaning(word, legacy), ops, "{word}");
        }
    }

    #[test]
    fn exec_is_a_feature_only_where_it_is_allowed() {
        let has = |allow| features(allow).iter().any(|feature| feature == "exec");
        assert_eq!((has(false), has(true)), (false, true));
        assert!(features(false).iter().any(|feature| feature == "journal"));
    }

    #[test]
    fn only_system_changes_need_root() {
        assert!(needs_root(&[Op::Pull, Op::Switch], Platform::Nixos));
        assert!(!needs_root(&[Op::Pull], Platform::Nixos));
        assert!(!needs_root(&[Op::Switch], Platform::HomeManager));
        assert!(!needs_root(&[Op::Switch], Platform::Script));
        assert!(needs_root(&[Op::Reboot], Platform::Script));
    }
}
