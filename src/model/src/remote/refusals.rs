//! What a forge's refusal of a change means to people: a word, what happened, and what to do.
//!
//! The statuses are GitHub's (405, 409, 422, 403 and 404 for what a token may not); its own words stand behind ours.

use super::code::Code;
use crate::compartments::sentence::quoted;

/// A change that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pull request is merged.
    Merge,
    /// A revert is put on the branch.
    Revert,
}

/// Whether the words tell of a rule that protects the branch.
pub fn is_protected(words: &str) -> bool {
    const SIGNS: &[&str] = &[
        "protected branch",
        "through a pull request",
        "rule violations",
        "required status check",
        "review is required",
        "reviews are required",
        "approving review",
        "not authorized to push",
        "merge queue",
        "linear history",
    ];
    let words = words.to_ascii_lowercase();
    SIGNS.iter().any(|sign| words.contains(sign))
}

/// Whether the words say that this kind of merge is switched off, and another one may do.
pub fn wants_squash(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("merge commits are not allowed") || words.contains("linear history")
}

/// Whether the words say that nothing is left but a rebase. That is never done: no single commit would take it back.
pub fn is_rebase_only(words: &str) -> bool {
    words.to_ascii_lowercase().contains("squash merges are not allowed")
}

/// Whether the branch moved while it was merged into: it is worth a second try.
pub fn is_race(words: &str) -> bool {
    words.to_ascii_lowercase().contains("base branch was modified")
}

/// The word for a refusal, and the sentence. `what` is `#12 title`, `branch` the tracked one, `words` the forge's own.
pub fn refused(change: Change, status: u16, words: &str, what: &str, branch: &str) -> (Code, String) {
    let (code, sentence) = match (change, status) {
        (_, 401) => (Code::NoLogin, "the token was refused: it is wrong or has expired; give another one".to_owned()),
        (_, 403 | 404 | 405 | 409 | 422) if is_protected(words) => (
            Code::ProtectedBranch,
            format!("{branch} is protected, and a review, a check or a right is missing: complete {what} where it is"),
        ),
        (_, 403 | 404) => (
            Code::NoRight,
            format!(
                "the token may not change {branch}: it needs the rights Contents and Pull requests, both read and write"
            ),
        ),
        (Change::Merge, 405) if is_rebase_only(words) => (
            Code::NotMergeable,
            format!(
                "{what} can't be merged, because the repository takes rebases alone: allow merge commits or squash \
                 merges in its settings"
            ),
        ),
        (Change::Merge, 405) => {
            (Code::NotMergeable, format!("{what} can't be merged into {branch} as it is: look at the pull request"))
        }
        (Change::Merge, 409) => (
            Code::PrChanged,
            format!("{what} has other commits than those that were shown: look at it again, then merge"),
        ),
        (Change::Revert, 409) => (
            Code::RevertConflict,
            format!("what came after {what} on {branch} changed the same places: revert it by hand"),
        ),
        (_, 422) => (Code::Refused, format!("{what} was refused as it is: look at the pull request")),
        (_, 500..) => (Code::ForgeFailed, format!("the server failed ({status}): try again in a moment")),
        (_, other) => (Code::ForgeFailed, format!("the server answered {other}")),
    };
    let words = quoted(words);
    let message = if words.is_empty() { sentence } else { format!("{sentence} (GitHub: {words})") };
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_word_and_says_what_to_do() {
        use Change::{Merge, Revert};
        for (change, status, words, code, part) in [
            (Merge, 401, "Bad credentials", "no_login", "give another one"),
            (Merge, 403, "Resource not accessible by personal access token", "no_right", "Contents and Pull requests"),
            (Merge, 404, "Not Found", "no_right", "Contents and Pull requests"),
            (Merge, 405, "Pull Request is not mergeable", "not_mergeable", "look at"),
            (
                Merge,
                405,
                "At least 1 approving review is required by reviewers with write access.",
                "protected_branch",
                "protected",
            ),
            (
                Merge,
                405,
                "Squash merges are not allowed on this repository.",
                "not_mergeable",
                "allow merge commits or squash merges",
            ),
            (Merge, 409, "Head branch was modified. Review and try the merge again.", "pr_changed", "look at it again"),
            (Merge, 422, "Validation Failed", "refused", "look at"),
            (Merge, 502, "", "forge_failed", "again"),
            (Revert, 409, "Merge conflict", "revert_conflict", "by hand"),
            (Revert, 422, "Changes must be made through a pull request.", "protected_branch", "protected"),
            (Revert, 403, "Protected branch update failed for refs/heads/main.", "protected_branch", "protected"),
            (Revert, 418, "", "forge_failed", "418"),
        ] {
            let (said, message) = refused(change, status, words, "#12 flake.lock: Update", "main");
            assert_eq!(said.as_str(), code, "{change:?} {status} {words}");
            assert!(message.contains(part), "{message}");
            assert!(words.is_empty() || message.contains("(GitHub: "), "{message}");
        }
        assert!(wants_squash("Merge commits are not allowed on this repository."));
        assert!(is_race("Base branch was modified. Review and try the merge again."));
        assert!(!is_protected("Pull Request is not mergeable"));
    }
}
