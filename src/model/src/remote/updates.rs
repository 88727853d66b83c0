//! Update pull requests: which ones are, and when the remote is asked about them again.
//!
//! A forge works out whether a pull request can be merged only when it is asked, and says null until it knows.

use std::time::Duration;

use nixfleet_protocol::api::PullRequest;

/// How often updates are looked for where nothing else calls for it.
pub const INTERVAL: Duration = Duration::from_hours(1);

/// Labels that make a pull request an update.
const LABELS: &[&str] = &["automated", "dependencies"];
/// What a title names that is one.
const LOCK: &str = "flake.lock";

/// When it is asked again whether a pull request can be merged: soon, then more seldom, and then no more than usual.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// An open pull request, as it is listed.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its labels.
    pub labels: &'a [String],
    /// It is not ready.
    pub draft: bool,
    /// It comes from another repository: anybody can open one with any title, and nobody but us can label it.
    pub foreign: bool,
}

/// Whether an open pull request is an update of the fleet.
pub fn is_update(listed: Listed<'_>) -> bool {
    let labelled = listed.labels.iter().any(|label| LABELS.iter().any(|known| label.eq_ignore_ascii_case(known)));
    let titled = !listed.foreign && listed.title.to_ascii_lowercase().contains(LOCK);
    !listed.draft && (labelled || titled)
}

/// Whether a pull request can be merged into the branch, and what speaks against it, as a sentence. `state` is GitHub's
/// `mergeable_state`.
pub fn mergeability(mergeable: Option<bool>, state: &str, branch: &str) -> (Option<bool>, Option<String>) {
    let no = |why: String| (Some(false), Some(why));
    match (mergeable, state) {
        (_, "dirty") => {
            no(format!("it conflicts with {branch}: bring it up to date, or close it and let the next one come."))
        }
        (_, "blocked") => no(format!("{branch} is protected, and a review or a check is missing: complete it there.")),
        (_, "behind") => no(format!("{branch} takes only what is up to date with it: update its branch there.")),
        (_, "draft") => no("it is a draft: mark it as ready there.".to_owned()),
        (Some(false), _) => no(format!("it conflicts with {branch}, or a rule stands against it: look at it there.")),
        (None, _) => (None, None),
        // Of checks that the branch does not ask for.
        (Some(true), "unstable") => (Some(true), Some("its checks have failed or still run.".to_owned())),
        (Some(true), _) => (Some(true), None),
    }
}

/// What a look at the updates found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The one that waits.
    pub waits: Option<PullRequest>,
    /// Of one of them, whichever, nobody knows yet whether it can be merged.
    pub open: bool,
}

/// The one that waits: the newest that can be merged, else the newest of which nobody knows yet, else the newest.
///
/// The one that waited `before` stays as long as it may be merged and no newer one can: when it is pushed to, nobody
/// knows for a moment whether it can, and an older one does not come instead for that moment.
pub fn choose(updates: Vec<PullRequest>, before: Option<u64>) -> Found {
    let open = updates.iter().any(|update| update.mergeable.is_none());
    Found { waits: chosen(updates, before), open }
}

fn chosen(mut updates: Vec<PullRequest>, before: Option<u64>) -> Option<PullRequest> {
    updates.sort_by_key(|update| (update.created_at, update.number));
    let stays = updates.iter().position(|update| Some(update.number) == before && update.mergeable != Some(false));
    if let Some(stays) = stays {
        updates.drain(..stays);
        let newer = updates.iter().rposition(|update| update.mergeable == Some(true)).unwrap_or_default();
        return Some(updates.swap_remove(newer));
    }
    updates.into_iter().rev().min_by_key(|update| match update.mergeable {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    })
}

/// How soon it is asked again after this many looks that were `open`; none: not before the next usual time.
pub fn again(open: bool, asked: usize) -> Option<Duration> {
    AGAIN.get(asked).copied().filter(|_| open)
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::Time;

    use super::*;

    #[test]
    fn an_update_is_known_by_its_label_or_its_title() {
        for (title, labels, draft, foreign, is) in [
            ("flake.lock: Update", vec![], false, false, true),
            ("Update Flake.Lock", vec![], false, false, true),
            ("weekly", vec!["automated"], false, false, true),
            ("weekly", vec!["x", "Dependencies"], false, false, true),
            ("flake.lock: Update", vec!["automated"], true, false, false),
            ("add a host", vec!["enhancement"], false, false, false),
            ("flake.lock: a stranger's", vec![], false, true, false),
            ("of a fork, and labelled", vec!["automated"], false, true, true),
        ] {
            let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
            let listed = Listed { title, labels: &labels, draft, foreign };
            assert_eq!(is_update(listed), is, "{listed:?}");
        }
    }

    #[test]
    fn each_reason_against_a_merge_has_its_sentence() {
        for (mergeable, state, can, part) in [
            (Some(true), "clean", Some(true), ""),
            (Some(true), "unstable", Some(true), "checks have failed or still run"),
            (Some(true), "has_hooks", Some(true), ""),
            (None, "unknown", None, ""),
            (Some(false), "dirty", Some(false), "conflicts with main"),
            (Some(true), "blocked", Some(false), "protected"),
            (None, "blocked", Some(false), "protected"),
            (Some(true), "behind", Some(false), "up to date"),
            (Some(true), "draft", Some(false), "draft"),
            (Some(false), "something new", Some(false), "conflicts"),
        ] {
            let (said, why) = mergeability(mergeable, state, "main");
            assert_eq!(said, can, "{state}");
            assert_eq!(why.is_some(), !part.is_empty(), "{state}");
            assert!(why.unwrap_or_default().contains(part), "{state}");
        }
    }

    fn update(number: u64, mergeable: Option<bool>) -> PullRequest {
        PullRequest {
            number,
            title: "flake.lock: Update".to_owned(),
            url: String::new(),
            mergeable,
            why_not: None,
            author: String::new(),
            head: "abcdef0".parse().unwrap(),
            labels: Vec::new(),
            commits: None,
            changed_files: None,
            created_at: Time::from_millis(i64::try_from(number).unwrap()),
        }
    }

    #[test]
    fn the_newest_that_can_be_merged_waits() {
        for (given, chosen) in [
            (vec![], None),
            (vec![(1, Some(true)), (2, Some(true))], Some(2)),
            (vec![(2, Some(true)), (1, Some(true)), (3, Some(false))], Some(2)),
            (vec![(1, Some(true)), (2, None)], Some(1)),
            (vec![(1, Some(false)), (2, None)], Some(2)),
            (vec![(1, Some(false)), (2, Some(false))], Some(2)),
        ] {
            let updates = given.iter().map(|(number, mergeable)| update(*number, *mergeable)).collect();
            let open = given.iter().any(|(_, mergeable)| mergeable.is_none());
            let found = choose(updates, None);
            assert_eq!((found.waits.map(|update| update.number), found.open), (chosen, open), "{given:?}");
        }
    }

    #[test]
    fn the_one_that_waits_gives_way_to_a_newer_one_and_to_an_older_one_only_when_it_cannot_be_merged() {
        let (yes, no, open) = (Some(true), Some(false), None);
        for (what, given, chosen) in [
            ("it waits", vec![(12, yes), (13, yes)], 13),
            ("pushed to", vec![(12, yes), (13, open)], 13),
            ("known again", vec![(12, yes), (13, yes)], 13),
            ("it conflicts", vec![(12, yes), (13, no)], 12),
            ("it is gone", vec![(12, yes), (11, yes)], 12),
            ("a newer one of which nobody knows", vec![(12, yes), (13, yes), (14, open)], 13),
            ("a newer one", vec![(12, yes), (13, yes), (14, yes)], 14),
            ("pushed to, with a newer one", vec![(13, open), (14, yes)], 14),
            ("newer ones that can't", vec![(13, open), (14, no)], 13),
            ("the newest of newer ones", vec![(13, yes), (14, yes), (15, yes), (16, open)], 15),
        ] {
            let updates = given.iter().map(|(number, mergeable)| update(*number, *mergeable)).collect();
            assert_eq!(choose(updates, Some(13)).waits.map(|update| update.number), Some(chosen), "{what}");
        }
    }

    #[test]
    fn it_is_asked_again_soon_and_not_for_ever() {
        assert_eq!(again(true, 0), Some(Duration::from_secs(2)));
        assert_eq!(again(true, AGAIN.len()), None);
        assert_eq!(again(false, 0), None);
    }
}
