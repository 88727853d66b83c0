//! The words for what `merge-pr` and `revert-pr` can't do, or did in part. They are part of the API: `docs/api.md` has
//! each of them, and a test of the routes sees to it.

/// A reason as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No update waits that can be merged.
    NoPendingPr,
    /// Nothing was merged from here that could be reverted.
    NothingToRevert,
    /// The arguments are not good.
    BadArgs,
    /// Pull requests can't be changed from here any more: the forge is configured no longer.
    NoPullRequests,
    /// It has other commits than those that were shown, or goes to another branch.
    PrChanged,
    /// It was closed without being merged.
    PrClosed,
    /// The forge would not merge it as it is.
    NotMergeable,
    /// The branch is protected, and something is missing.
    ProtectedBranch,
    /// What came after the merge changed the same places.
    RevertConflict,
    /// The token may not.
    NoRight,
    /// The token was refused.
    NoLogin,
    /// The forge's limit is used up.
    RateLimited,
    /// The forge can't be reached.
    Unreachable,
    /// The forge failed.
    ForgeFailed,
    /// The forge finds the question bad.
    Refused,
    /// Nobody knows what became of it.
    NoAnswer,
    /// It is done, and the branch's head does not show it.
    HeadNotSeen,
    /// The revert is a pull request that waits.
    RevertPrWaits,
}

impl Code {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::NoPendingPr,
        Self::NothingToRevert,
        Self::BadArgs,
        Self::NoPullRequests,
        Self::PrChanged,
        Self::PrClosed,
        Self::NotMergeable,
        Self::ProtectedBranch,
        Self::RevertConflict,
        Self::NoRight,
        Self::NoLogin,
        Self::RateLimited,
        Self::Unreachable,
        Self::ForgeFailed,
        Self::Refused,
        Self::NoAnswer,
        Self::HeadNotSeen,
        Self::RevertPrWaits,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPendingPr => "no_pending_pr",
            Self::NothingToRevert => "nothing_to_revert",
            Self::BadArgs => "bad_args",
            Self::NoPullRequests => "no_pull_requests",
            Self::PrChanged => "pr_changed",
            Self::PrClosed => "pr_closed",
            Self::NotMergeable => "not_mergeable",
            Self::ProtectedBranch => "protected_branch",
            Self::RevertConflict => "revert_conflict",
            Self::NoRight => "no_right",
            Self::NoLogin => "no_login",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
            Self::ForgeFailed => "forge_failed",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
            Self::HeadNotSeen => "head_not_seen",
            Self::RevertPrWaits => "revert_pr_waits",
        }
    }
}
