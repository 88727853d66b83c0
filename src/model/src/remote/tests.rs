use super::*;

fn at(seconds: i64) -> Time {
    Time::from_millis(1_000_000 + seconds * 1000)
}

fn commit(text: &str) -> Commit {
    text.parse().unwrap()
}

fn desired(head: &str) -> Desired {
    Desired {
        commit: commit(head),
        subject: "one".to_owned(),
        author: "A".to_owned(),
        committed_at: at(0),
        lock_hash: None,
    }
}

fn remote() -> RemoteState {
    RemoteState::new(Some("ssh://git@example.org/fleet".to_owned()), "main", Duration::from_secs(30))
}

#[test]
fn one_failed_poll_is_no_red_fleet() {
    let mut state = remote();
    assert_eq!(state.readability(at(0)), Readability::NotYet);
    state.read(desired("aaaaaaa"), at(0));
    state.failed("no route to host", at(40));
    assert_eq!(state.readability(at(40)), Readability::Readable(&desired("aaaaaaa")));
    assert_eq!(state.readability(at(90)), Readability::Readable(&desired("aaaaaaa")), "not older than three intervals");
    let failing = Failing { since: at(40), why: "no route to host".to_owned() };
    assert_eq!(state.readability(at(91)), Readability::Unreadable(&failing));
}

#[test]
fn an_old_answer_counts_while_no_poll_failed() {
    let mut state = remote();
    state.read(desired("aaaaaaa"), at(0));
    assert_eq!(state.readability(at(900_000)), Readability::Readable(&desired("aaaaaaa")));
    assert_eq!(state.next_change(at(900_000)), None);
}

#[test]
fn a_remote_that_was_never_read_and_fails_is_unreadable_at_once() {
    let mut state = remote();
    state.failed("authentication failed", at(5));
    assert!(matches!(state.readability(at(5)), Readability::Unreadable(_)));
    assert_eq!(state.next_change(at(5)), None);
}

#[test]
fn no_source_is_not_a_failure() {
    assert_eq!(RemoteState::new(None, "main", Duration::ZERO).readability(at(0)), Readability::NotConfigured);
}

#[test]
fn a_failure_keeps_its_first_time_and_its_last_reason_until_an_answer_comes() {
    let mut state = remote();
    state.failed("one", at(1));
    state.failed("two", at(2));
    assert_eq!(state.failing, Some(Failing { since: at(1), why: "two".to_owned() }));
    state.read(desired("aaaaaaa"), at(3));
    assert_eq!(state.failing, None);
    assert_eq!(state.read_at, Some(at(3)));
}

#[test]
fn it_becomes_unreadable_when_it_was_said() {
    let mut state = remote();
    state.read(desired("aaaaaaa"), at(0));
    state.failed("no route to host", at(40));
    let then = state.next_change(at(40)).unwrap();
    assert!(matches!(state.readability(then.minus(Duration::from_millis(1))), Readability::Readable(_)));
    assert!(matches!(state.readability(then), Readability::Unreadable(_)));
    assert_eq!(state.next_change(then), None);
}

#[test]
fn a_commit_is_found_by_its_abbreviation_on_either_side() {
    let mut state = remote();
    state.read(desired("aaaaaaa0000000000000000000000000000000ff"), at(0));
    state.relations.insert(commit("bbbbbbb1"), Relation::Behind(2));
    state.relations.insert(commit("bbbbbbb12"), Relation::Behind(3));
    state.relations.insert(commit("ccccccc"), Relation::Ahead(1));
    state.relations.insert(commit("eeeeeee"), Relation::Equal);
    for (given, expected) in [
        ("aaaaaaa", Relation::Equal),
        ("aaaaaaa0000000000000000000000000000000ff", Relation::Equal),
        ("aaaaaaa1", Relation::Differs),
        ("bbbbbbb", Relation::Behind(2)),
        ("bbbbbbb1", Relation::Behind(2)),
        ("bbbbbbb10", Relation::Behind(2)),
        ("bbbbbbb12", Relation::Behind(3)),
        ("bbbbbbb13", Relation::Behind(2)),
        ("bbbbbbb2", Relation::Differs),
        ("ccccccc0", Relation::Ahead(1)),
        ("ddddddd", Relation::Differs),
        ("eeeeeee", Relation::Differs),
    ] {
        assert_eq!(state.relation(&commit(given)), expected, "{given}");
    }
    assert_eq!(remote().relation(&commit("aaaaaaa")), Relation::Differs);
}

#[test]
fn a_new_head_forgets_how_commits_stood_to_the_old_one() {
    let mut state = remote();
    state.read(desired("aaaaaaa"), at(0));
    state.relations.insert(commit("bbbbbbb"), Relation::Behind(2));
    state.read(desired("aaaaaaa"), at(1));
    assert_eq!(state.relations.len(), 1);
    state.read(desired("ccccccc"), at(2));
    assert!(state.relations.is_empty());
}
