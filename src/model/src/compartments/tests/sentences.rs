//! The words that sentences are made of.

use nixfleet_protocol::api::{CommandState, Progress};
use nixfleet_protocol::{Op, Time};

use super::fixture::command;
use crate::compartments::sentence::{count, moment, names, quoted, running};

#[test]
fn what_others_wrote_is_one_short_line() {
    assert_eq!(quoted("  one\n\ttwo\u{7}three.. "), "one two three");
    assert_eq!(quoted(""), "");
    assert_eq!(quoted("\n."), "");
    let long = quoted(&"ä".repeat(1_000_000));
    assert_eq!(long.chars().count(), 161);
    assert!(long.ends_with('…'));
    let words = quoted(&"word ".repeat(100_000));
    assert_eq!(words.chars().count(), 32 * "word ".len(), "as many whole words as fit");
    assert!(words.ends_with("word…"), "cut between two words: {words}");
}

#[test]
fn moments_are_told_to_the_minute() {
    assert_eq!(moment(Time::from_millis(1_795_240_944_007)), "2026-11-21 06:02 UTC");
    assert!(!moment(Time::from_millis(i64::MIN)).is_empty());
    assert!(!moment(Time::from_millis(i64::MAX)).is_empty());
}

#[test]
fn names_are_listed_up_to_three() {
    let given: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    for (shown, total, expected) in [
        (0, 0, ""),
        (0, 5, ""),
        (1, 1, "a"),
        (2, 2, "a and b"),
        (3, 3, "a, b and c"),
        (4, 4, "a, b, c and 1 more"),
        (4, 9, "a, b, c and 6 more"),
        (1, 3, "a and 2 more"),
    ] {
        assert_eq!(names(&given[..shown], total), expected);
    }
    assert_eq!((count(1, "commit"), count(0, "commit")), ("1 commit".to_owned(), "0 commits".to_owned()));
}

#[test]
fn a_running_command_says_how_far_it_is() {
    let progress = |phase: &str, done, expected, text: &str| {
        Some(Progress { phase: phase.to_owned(), done, expected, text: text.to_owned() })
    };
    for (state, progress, expected) in [
        (CommandState::Executing, None, "Switch is running."),
        (CommandState::Executing, progress("", None, None, ""), "Switch is running."),
        (CommandState::Executing, progress("build", Some(3), Some(10), ""), "Switch is running: build, 3 of 10."),
        (CommandState::Executing, progress("", Some(3), Some(10), ""), "Switch is running: 3 of 10."),
        (CommandState::Executing, progress("", Some(3), None, ""), "Switch is running: 3 done."),
        (CommandState::Executing, progress("build", Some(3), None, ""), "Switch is running: build."),
        (
            CommandState::Executing,
            progress("build", Some(3), Some(10), "3/10 built."),
            "Switch is running: 3/10 built.",
        ),
        (
            CommandState::RunningWarning,
            progress("build", None, None, ""),
            "Switch is running: build, longer than usual.",
        ),
        (CommandState::Pending, None, "Switch is about to start."),
        (CommandState::Validating, None, "Switch is about to start."),
        (
            CommandState::TimeoutPending,
            None,
            "Switch is past its time limit: extend it, stop it, or let it go on without one.",
        ),
        (
            CommandState::AwaitingReconnect,
            None,
            "Switch waits for the host: the link is down, and what became of it is told when the host is back.",
        ),
        (CommandState::Killing, None, "Switch is being stopped."),
        (CommandState::Success, None, "Switch is over."),
    ] {
        let mut command = command(1, Op::Switch, state, Time::default());
        command.progress = progress;
        assert_eq!(running(&command), expected);
    }
}
