//! What each op does on each platform, as plans: lists of steps that a pure function makes from facts.
//!
//! ```text
//! order ─→ situation (looks at the disk) ─→ plan (pure) ─→ runner (carries the steps out, one by one)
//! ```
//!
//! The runner uses it; the agent asks it only which ops there are. A new op is an arm in [`plan::plan`] and a line
//! in [`SUPPORTED`]; what its plan needs to know is a field of [`situation::Situation`].

pub mod args;
pub mod checkout;
pub mod deployed;
pub mod lock;
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
pub const SUPPORTED: &[Op] = &[
    Op::Pull,
    Op::Switch,
    Op::Test,
    Op::Rollback,
    Op::Restart,
    Op::Reboot,
    Op::RefreshSystem,
    Op::Plan,
    Op::BumpFlake,
    Op::ForceRebuild,
    Op::Gc,
];

/// Whether it carries an op out on this platform.
pub fn is_supported(op: Op, platform: Platform) -> bool {
    (SUPPORTED.contains(&op) || own::OPS.contains(&op)) && !(op.needs_nix() && platform == Platform::Script)
}

/// What a word of a dashboard means on this platform, in ops; `None` for one that this agent does not know.
/// Old dashboards have words for several ops at once.
pub fn meaning(word: &str, legacy: bool, platform: Platform) -> Option<Vec<Op>> {
    if legacy {
        return words::meaning(word, platform);
    }
    let op = word.parse::<Op>().ok()?;
    is_supported(op, platform).then(|| vec![op])
}

/// What the agent can do on this platform, for `register`: its ops by name, and `tests`. `exec` is named only where
/// it is allowed.
pub fn features(platform: Platform, allow_exec: bool) -> Vec<String> {
    let ops = Op::ALL.iter().filter(|op| is_supported(**op, platform) && (allow_exec || **op != Op::Exec));
    ops.map(|op| op.as_str()).chain(["tests"]).map(str::to_owned).collect()
}

/// Whether an op may need to be root on this platform.
pub fn needs_root(ops: &[Op], platform: Platform) -> bool {
    let system = matches!(platform, Platform::Nixos | Platform::NixDarwin);
    let changes = |op: &Op| matches!(op, Op::Switch | Op::Rollback | Op::ForceRebuild | Op::Gc);
    ops.iter().any(|op| *op == Op::Reboot || system && changes(op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_ops() {
        let (nixos, home, script) = (Platform::Nixos, Platform::HomeManager, Platform::Script);
        for (word, legacy, platform, ops) in [
            ("pull", false, script, Some(vec![Op::Pull])),
            ("pull-switch", true, script, Some(vec![Op::Pull, Op::Switch])),
            ("pull-switch", false, script, None),
            ("refresh-system", true, nixos, Some(vec![Op::RefreshSystem])),
            ("refresh-system", true, script, None),
            ("gc", false, nixos, Some(vec![Op::Gc])),
            ("gc", false, home, Some(vec![Op::Gc])),
            ("gc", false, script, None),
            ("plan", false, script, Some(vec![Op::Plan])),
            ("journal", false, script, Some(vec![Op::Journal])),
            ("journal", true, script, None),
            ("refresh-git", false, nixos, None),
            ("merge-pr", false, nixos, None),
            ("rm -rf /", false, nixos, None),
            ("", false, nixos, None),
        ] {
            assert_eq!(meaning(word, legacy, platform), ops, "{word} {platform:?}");
        }
    }

    #[test]
    fn the_features_are_what_the_platform_has() {
        for platform in [Platform::Nixos, Platform::NixDarwin, Platform::HomeManager, Platform::Script] {
            let features = features(platform, true);
            for op in Op::ALL {
                assert_eq!(features.contains(&op.to_string()), is_supported(*op, platform), "{op}");
            }
            assert_eq!(is_supported(Op::BumpFlake, platform), platform != Platform::Script);
        }
    }

    #[test]
    fn exec_is_a_feature_only_where_it_is_allowed() {
        let has = |allow| features(Platform::Script, allow).iter().any(|feature| feature == "exec");
        assert_eq!((has(false), has(true)), (false, true));
        assert!(features(Platform::Script, false).iter().any(|feature| feature == "journal"));
    }

    #[test]
    fn only_system_changes_need_root() {
        assert!(needs_root(&[Op::Pull, Op::Switch], Platform::Nixos));
        assert!(!needs_root(&[Op::Pull], Platform::Nixos));
        assert!(!needs_root(&[Op::Switch], Platform::HomeManager));
        assert!(!needs_root(&[Op::Switch], Platform::Script));
        assert!(needs_root(&[Op::Reboot], Platform::Script));
        assert!(needs_root(&[Op::ForceRebuild], Platform::NixDarwin));
        assert!(needs_root(&[Op::Gc], Platform::Nixos));
        assert!(!needs_root(&[Op::Gc], Platform::HomeManager));
        assert!(!needs_root(&[Op::Plan, Op::RefreshSystem, Op::BumpFlake], Platform::Nixos));
    }
}
