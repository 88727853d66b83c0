//! What `merge-pr` and `revert-pr` are to do: from what was asked and from what is known, or why not.
//!
//! What is decided is written into the command's arguments before anything happens, so that a command that goes on
//! after a restart means the same pull request, whatever is known by then.

use nixfleet_protocol::api::{Merged, PullRequest};
use nixfleet_protocol::{Commit, Op};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RemoteState;
use super::code::Code;
use crate::checks::Refusal;
use crate::compartments::{actions, sentence};

/// What `merge-pr` merges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The pull request.
    pub number: u64,
    /// Its head, as it was shown: another one is not merged. None: it does not wait here and nobody said what was shown,
    /// so it is only looked whether it is merged already.
    #[serde(default)]
    pub head: Option<Commit>,
}

/// What `revert-pr` reverts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// The pull request.
    pub number: u64,
    /// The commit that its merge made.
    pub commit: Commit,
    /// Its title, for the revert's own.
    pub title: String,
}

impl From<&Merged> for Revert {
    fn from(merged: &Merged) -> Self {
        Self { number: merged.number, commit: merged.commit.clone(), title: merged.title.clone() }
    }
}

/// The arguments that have a pull request merged as it is shown, and no other.
pub fn shown(waiting: &PullRequest) -> Map<String, Value> {
    Map::from_iter([
        ("number".to_owned(), Value::from(waiting.number)),
        ("head".to_owned(), Value::from(waiting.head.as_str())),
    ])
}

/// As arguments of a command.
fn arguments<T: Serialize>(wish: &T) -> String {
    serde_json::to_string(wish).unwrap_or_else(|_| "{}".to_owned())
}

/// What an op that concerns no host is to do, as the arguments of its command; or why it may not start now. `can`:
/// pull requests can be merged and reverted from here.
pub fn plan(op: Op, args: &Map<String, Value>, remote: &RemoteState, can: bool) -> Result<String, Refusal> {
    match op {
        Op::RefreshGit => Ok("{}".to_owned()),
        Op::MergePr => merge(args, remote.pull_request.as_ref(), can).map(|wish| arguments(&wish)),
        Op::RevertPr => revert(args, remote, can).map(|wish| arguments(&wish)),
        Op::Pull
        | Op::Switch
        | Op::Test
        | Op::Rollback
        | Op::Restart
        | Op::Reboot
        | Op::CheckVersion
        | Op::RefreshLock
        | Op::RefreshSystem
        | Op::Plan
        | Op::BumpFlake
        | Op::ForceRebuild
        | Op::Gc
        | Op::Exec
        | Op::Journal
        | Op::SetColor
        | Op::SetTags
        | Op::Wake
        | Op::Remove => Err(Refusal::new("host_required", format!("{op} needs a host: name one."))),
    }
}

/// What a run merges, as the arguments of its stage: what is shown now, or what was asked for with the head that the
/// caller has seen. `waiting`: the update that is shown.
pub(crate) fn bound(args: &Map<String, Value>, waiting: Option<&PullRequest>) -> Result<String, Refusal> {
    merge(args, waiting, true).map(|wish| arguments(&wish))
}

/// What of the arguments is meant: `number`, and for a merge `head`; both may be left out.
struct Asked {
    number: Option<u64>,
    head: Option<Commit>,
}

fn asked(args: &Map<String, Value>) -> Result<Asked, Refusal> {
    let number = match args.get("number") {
        None | Some(Value::Null) => None,
        Some(number) => Some(number.as_u64().ok_or_else(|| bad_args("number is the number of a pull request"))?),
    };
    let head = match args.get("head") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse().map_err(|_| bad_args("head is a commit"))?),
        Some(_) => return Err(bad_args("head is a commit")),
    };
    Ok(Asked { number, head })
}

fn refusal(code: Code, message: impl Into<String>) -> Refusal {
    Refusal::new(code.as_str(), message)
}

fn bad_args(why: &str) -> Refusal {
    refusal(Code::BadArgs, format!("The arguments are not good: {why}."))
}

/// What is merged: the update that waits, or the one that was asked for. Without `can`, pull requests are not seen here.
fn merge(args: &Map<String, Value>, waiting: Option<&PullRequest>, can: bool) -> Result<Merge, Refusal> {
    let asked = asked(args)?;
    if !can {
        let message = "No update pull request waits: they are seen where NIXFLEET_GITHUB_REPO is set.";
        return Err(refusal(Code::NoPendingPr, message));
    }
    match (asked.number, waiting) {
        (Some(number), Some(waiting)) if number == waiting.number => waiting_one(waiting, asked.head.as_ref()),
        // Not the one that waits, or not any more: it may be merged already, and that is as good. What was shown of it
        // is merged all the same, and nothing else.
        (Some(number), _) => Ok(Merge { number, head: asked.head }),
        (None, Some(waiting)) => waiting_one(waiting, asked.head.as_ref()),
        (None, None) => {
            Err(refusal(Code::NoPendingPr, "No update pull request waits.").offering(actions::start(Op::RefreshGit)))
        }
    }
}

fn waiting_one(waiting: &PullRequest, shown: Option<&Commit>) -> Result<Merge, Refusal> {
    let named = format!("#{} {}", waiting.number, sentence::quoted(&waiting.title));
    if waiting.mergeable == Some(false) {
        return Err(refusal(Code::NoPendingPr, cant_be_merged(waiting, &named)));
    }
    if shown.is_some_and(|shown| !shown.is(&waiting.head)) {
        let message = format!("{named} has other commits than those that were shown: look at it again, then merge.");
        return Err(refusal(Code::PrChanged, message));
    }
    Ok(Merge { number: waiting.number, head: Some(waiting.head.clone()) })
}

/// Why a pull request that can't be merged can't.
pub(crate) fn cant_be_merged(waiting: &PullRequest, named: &str) -> String {
    match &waiting.why_not {
        Some(why) => format!("{named} can't be merged as it is: {why}"),
        None => format!("{named} can't be merged as it is: look at the pull request."),
    }
}

/// What is reverted: the last merge from here.
fn revert(args: &Map<String, Value>, remote: &RemoteState, can: bool) -> Result<Revert, Refusal> {
    let asked = asked(args)?;
    let nothing = |message: String| Err(refusal(Code::NothingToRevert, message));
    let Some(merged) = &remote.merged else {
        return nothing("No pull request was merged from here that could be reverted.".to_owned());
    };
    if let Some(number) = asked.number.filter(|number| *number != merged.number) {
        return nothing(format!(
            "#{number} is not the last one that was merged from here; that is #{}.",
            merged.number
        ));
    }
    if !can {
        return nothing(format!("#{} can't be reverted from here: set NIXFLEET_GITHUB_REPO.", merged.number));
    }
    Ok(Revert::from(merged))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nixfleet_protocol::Time;
    use serde_json::json;

    use super::*;

    /// The update that waits.
    #[derive(Clone, Copy, PartialEq)]
    enum Waits {
        None,
        Mergeable,
        NotKnownYet,
        Conflicting,
    }

    fn remote(waits: Waits) -> RemoteState {
        let mut remote = RemoteState::new(Some("github".to_owned()), "main", Duration::from_secs(30));
        let mergeable = match waits {
            Waits::None => return remote,
            Waits::Mergeable => Some(true),
            Waits::NotKnownYet => None,
            Waits::Conflicting => Some(false),
        };
        remote.pull_request = Some(PullRequest {
            number: 12,
            title: "flake.lock: Update".to_owned(),
            url: "https://example.org/12".to_owned(),
            mergeable,
            why_not: (mergeable == Some(false)).then(|| "it conflicts with main.".to_owned()),
            author: "updates".to_owned(),
            head: "abcdef0".parse().unwrap(),
            labels: Vec::new(),
            commits: None,
            changed_files: None,
            created_at: Time::from_millis(1),
        });
        remote
    }

    fn args(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_merged_is_what_was_shown() {
        let (waits, open, none) = (Waits::Mergeable, Waits::NotKnownYet, Waits::None);
        for (what, given, waiting, expected) in [
            ("nothing waits", json!({}), none, "no_pending_pr"),
            ("the one that waits", json!({}), waits, "12 abcdef0"),
            ("nobody knows yet whether it can", json!({}), open, "12 abcdef0"),
            ("conflict", json!({}), Waits::Conflicting, "no_pending_pr"),
            ("by number", json!({"number": 12}), waits, "12 abcdef0"),
            ("as shown", json!({"number": 12, "head": "abcdef01"}), waits, "12 abcdef0"),
            ("moved since", json!({"head": "abcdef1"}), waits, "pr_changed"),
            ("another one", json!({"number": 11}), waits, "11 look"),
            ("as shown, before a newer one came", json!({"number": 11, "head": "abcdef2"}), waits, "11 abcdef2"),
            ("as shown, and gone since", json!({"number": 12, "head": "abcdef0"}), none, "12 abcdef0"),
            ("gone, perhaps merged", json!({"number": 12}), none, "12 look"),
            ("no number", json!({"number": "x"}), waits, "bad_args"),
            ("negative", json!({"number": -1}), waits, "bad_args"),
            ("no commit", json!({"head": 7}), waits, "bad_args"),
        ] {
            let outcome = match merge(&args(&given), remote(waiting).pull_request.as_ref(), true) {
                Ok(Merge { number, head: Some(head) }) => format!("{number} {head}"),
                Ok(Merge { number, head: None }) => format!("{number} look"),
                Err(refusal) => refusal.code.to_owned(),
            };
            assert_eq!(outcome, expected, "{what}");
        }
        let refused = merge(&Map::new(), remote(waits).pull_request.as_ref(), false).unwrap_err();
        assert!(refused.message.contains("NIXFLEET_GITHUB_REPO"), "{}", refused.message);
        let refused = merge(&Map::new(), remote(Waits::Conflicting).pull_request.as_ref(), true).unwrap_err();
        assert_eq!(refused.message, "#12 flake.lock: Update can't be merged as it is: it conflicts with main.");
    }

    #[test]
    fn an_op_of_the_fleet_needs_no_host_and_the_others_do() {
        let plan = |op| plan(op, &Map::new(), &remote(Waits::None), true).map_err(|refusal| refusal.code);
        assert_eq!(plan(Op::RefreshGit), Ok("{}".to_owned()));
        assert_eq!(plan(Op::MergePr), Err("no_pending_pr"));
        assert_eq!(plan(Op::RevertPr), Err("nothing_to_revert"));
        assert_eq!(plan(Op::Switch), Err("host_required"));
    }

    #[test]
    fn what_is_reverted_is_the_last_merge_from_here() {
        let mut known = remote(Waits::None);
        assert_eq!(revert(&Map::new(), &known, true).unwrap_err().code, "nothing_to_revert");
        known.merged = Some(Merged {
            number: 12,
            title: "flake.lock: Update".to_owned(),
            url: String::new(),
            commit: "abcdef0".parse().unwrap(),
            at: Time::from_millis(1),
            by: "user".to_owned(),
        });
        let wish = revert(&Map::new(), &known, true).unwrap();
        assert_eq!(serde_json::from_str::<Revert>(&arguments(&wish)).unwrap(), wish);
        assert_eq!(revert(&args(&json!({"number": 12})), &known, true).unwrap(), wish);
        assert_eq!(revert(&args(&json!({"number": 11})), &known, true).unwrap_err().code, "nothing_to_revert");
        assert_eq!(revert(&Map::new(), &known, false).unwrap_err().code, "nothing_to_revert");
    }
}
