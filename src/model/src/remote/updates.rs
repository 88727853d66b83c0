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

/// Whether an open pull request is an update of the fleet.
pub fn is_update<'a>(title: &str, labels: impl IntoIterator<Item = &'a str>, draft: bool) -> bool {
    let labelled = || labels.into_iter().any(|label| LABELS.iter().any(|known| label.eq_ignore_ascii_case(known)));
    !draft && (title.to_ascii_lowercase().contains(LOCK) || labelled())
}

/// The one that waits: the newest that can be merged, else the newest of which nobody knows yet, else the newest.
pub fn choose(mut updates: Vec<PullRequest>) -> Option<PullRequest> {
    updates.sort_by_key(|update| (update.created_at, update.number));
    updates.into_iter().rev().min_by_key(|update| match update.mergeable {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    })
}

/// How soon it is asked again after this many answers that said null; none: not before the next usual time.
pub fn again(waiting: Option<&PullRequest>, asked: usize) -> Option<Duration> {
    waiting.filter(|waiting| waiting.mergeable.is_none()).and_then(|_| AGAIN.get(asked).copied())
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::Time;

    use super::*;

    #[test]
    fn an_update_is_known_by_its_label_or_its_title() {
        for (title, labels, draft, is) in [
            ("flake.lock: Update", vec![], false, true),
            ("Update Flake.Lock", vec![], false, true),
            ("weekly", vec!["automated"], false, true),
            ("weekly", vec!["x", "Dependencies"], false, true),
            ("flake.lock: Update", vec!["automated"], true, false),
            ("add a host", vec!["enhancement"], false, false),
        ] {
            assert_eq!(is_update(title, labels.clone(), draft), is, "{title} {labels:?} {draft}");
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
            assert_eq!(choose(updates).map(|update| update.number), chosen, "{given:?}");
        }
    }

    #[test]
    fn it_is_asked_again_soon_and_not_for_ever() {
        let (open, known) = (update(1, None), update(1, Some(false)));
        assert_eq!(again(Some(&open), 0), Some(Duration::from_secs(2)));
        assert_eq!(again(Some(&open), AGAIN.len()), None);
        assert_eq!(again(Some(&known), 0), None);
        assert_eq!(again(None, 0), None);
    }
}
