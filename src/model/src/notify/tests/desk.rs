//! From notices to letters.

use super::*;

fn begun(channels: Vec<Channel>) -> Desk {
    let mut desk = desk(channels);
    look(&mut desk, &fleet(), &[], 0);
    desk
}

fn event(number: u64) -> Arc<Event> {
    failed(number, Some(&format!("h{number}")), "ERROR")
}

fn failure(retry_after: Option<u64>, refused: bool) -> Failure {
    Failure { why: "503".into(), retry_after: retry_after.map(Duration::from_secs), refused }
}

fn not_taken(desk: &mut Desk, step: &Step, failure: Failure, second: i64) -> Step {
    let (channel, letter) = &step.send[0];
    desk.step(&Input::Sent { channel: *channel, id: letter.id.clone(), outcome: Err(failure) }, at(second))
}

/// Seconds from noon when the desk wants to be woken.
fn wake(desk: &Desk, second: i64) -> Option<i64> {
    desk.next_wake(at(second)).map(|wake| (wake.millis() - at(0).millis()) / 1000)
}

#[test]
fn the_first_goes_at_once_and_the_next_are_counted_in_one_letter_a_minute_later() {
    let mut desk = begun(vec![channel("a")]);
    let first = look(&mut desk, &fleet(), &[event(1)], 10);
    assert_eq!(titles(&first), ["switch on h1 failed"]);
    assert_eq!(
        first.send[0].1.url.as_deref(),
        Some("https://fleet.example.org/commands/0190b6a8-0000-7000-8000-000000000001")
    );
    assert_eq!((first.put.len(), first.memory.is_some()), (1, true), "on disk before it leaves");
    let over = taken(&mut desk, &first, 11);
    assert_eq!(over[0].remove, [1]);
    for (number, second) in [(2, 20), (3, 30), (4, 40)] {
        let step = look(&mut desk, &fleet(), &[event(number)], second);
        assert!(step.send.is_empty() && step.put.len() == 1);
    }
    assert_eq!(wake(&desk, 40), Some(71));
    assert!(desk.step(&Input::Timer, at(70)).send.is_empty());
    let more = desk.step(&Input::Timer, at(71));
    assert_eq!(titles(&more), ["3 more commands failed: switch on h2, switch on h3, switch on h4"]);
    assert_eq!((more.send[0].1.count, more.send[0].1.text.lines().count()), (3, 3));
    taken(&mut desk, &more, 72);
    assert_eq!(wake(&desk, 72), None, "nothing waits");
}

#[test]
fn kinds_and_channels_do_not_wait_for_each_other() {
    let mut desk = begun(vec![channel("a"), channel("b")]);
    let mut fleet = fleet();
    host(&mut fleet, "h1", HostState::Offline, &[]);
    let step = look(&mut desk, &fleet, &[event(1)], 10);
    assert_eq!(step.send.len(), 2, "one letter at a time to each");
    let next: Vec<Step> = taken(&mut desk, &step, 11);
    assert!(next.iter().all(|step| step.send.len() == 1), "and the other kind at once behind it");
}

#[test]
fn what_was_not_taken_is_tried_again_with_growing_pauses_and_the_same_id() {
    let mut desk = begun(vec![channel("a")]);
    let mut step = look(&mut desk, &fleet(), &[event(1)], 10);
    let id = step.send[0].1.id.clone();
    let mut second = 10;
    for pause in [15, 30, 60, 120, 240, 480, 600, 600] {
        assert!(not_taken(&mut desk, &step, failure(None, false), second).send.is_empty());
        assert_eq!(wake(&desk, second), Some(second + pause));
        // What comes meanwhile waits behind it, and does not change it.
        assert!(look(&mut desk, &fleet(), &[event(u64::try_from(second).unwrap())], second).send.is_empty());
        second += pause;
        step = desk.step(&Input::Timer, at(second));
        assert_eq!((step.send[0].1.id.as_str(), step.send[0].1.count), (id.as_str(), 1));
    }
    let view = desk.view(0, at(second)).unwrap();
    assert_eq!((view.waiting, view.last_error.map(|(_, why)| why)), (9, Some("503".to_owned())));
    taken(&mut desk, &step, second);
    let rest = desk.step(&Input::Timer, at(second + 60));
    assert_eq!(rest.send[0].1.count, 8, "and then all of them in one letter");
    assert_ne!(rest.send[0].1.id, id);
}

#[test]
fn a_receiver_that_asks_for_time_gets_it_up_to_an_hour() {
    for (asked, waits) in [(1, 15), (90, 90), (100_000, 3600)] {
        let mut desk = begun(vec![channel("a")]);
        let step = look(&mut desk, &fleet(), &[event(1)], 10);
        not_taken(&mut desk, &step, failure(Some(asked), false), 10);
        assert_eq!(wake(&desk, 10), Some(10 + waits), "{asked}");
    }
}

#[test]
fn a_letter_that_is_called_bad_three_times_is_let_go_and_said_so() {
    let mut desk = begun(vec![channel("a")]);
    let mut step = look(&mut desk, &fleet(), &[event(1)], 0);
    look(&mut desk, &fleet(), &[event(2)], 1);
    for second in [0, 15] {
        let failed = not_taken(&mut desk, &step, failure(None, true), second);
        assert!(failed.events.is_empty());
        let next = desk.next_wake(at(second)).unwrap();
        step = desk.step(&Input::Timer, next);
    }
    let last = not_taken(&mut desk, &step, failure(None, true), 60);
    assert_eq!(last.remove, [1]);
    assert_eq!(last.events[0].action, "notification_refused");
    assert!(last.events[0].message.contains("switch on h1 failed"), "{}", last.events[0].message);
    assert!(desk.next_wake(at(60)).is_some(), "the others go on");
}

#[test]
fn in_quiet_hours_nothing_is_sent_and_one_digest_comes_at_their_end() {
    let mut desk = begun(vec![Channel { quiet: quiet(), ..channel("a") }]);
    let night = 11 * 3600;
    let mut fleet = fleet();
    host(&mut fleet, "h1", HostState::Offline, &[]);
    assert!(look(&mut desk, &fleet, &[event(1)], night).send.is_empty());
    assert!(look(&mut desk, &fleet, &[event(2)], night + 600).send.is_empty());
    host(&mut fleet, "h1", HostState::Online, &[]);
    assert!(look(&mut desk, &fleet, &[], night + 700).send.is_empty());
    let morning = 19 * 3600;
    assert_eq!(wake(&desk, night + 700), Some(morning));
    assert!(desk.step(&Input::Timer, at(morning - 1)).send.is_empty());
    let digest = desk.step(&Input::Timer, at(morning));
    assert_eq!(titles(&digest), ["In quiet hours: 2 commands failed, 1 host gone, 1 host back"]);
    assert_eq!((digest.send[0].1.kind, digest.send[0].1.level, digest.send[0].1.count), (None, Level::Error, 4));
    taken(&mut desk, &digest, morning + 1);
    let awake = look(&mut desk, &fleet, &[event(3)], morning + 120);
    assert_eq!(titles(&awake), ["switch on h3 failed"], "by day as ever");
}

#[test]
fn a_restart_sends_what_was_not_taken_and_nothing_else() {
    let mut before = begun(vec![channel("a"), channel("b")]);
    let step = look(&mut before, &fleet(), &[event(1)], 10);
    let stored: BTreeMap<u64, Waiting> = step.put.iter().cloned().collect();
    let over =
        before.step(&Input::Sent { channel: 1, id: step.send[1].1.id.clone(), outcome: Ok(Taken::default()) }, at(11));
    let stored = stored.into_iter().filter(|(number, _)| !over.remove.contains(number)).collect();
    let memory = Some(before.memory().clone());
    let channels = vec![channel("a"), channel("b")];
    let mut after = Desk::new(channels, None, memory, stored, "other".into());
    let again = after.step(&Input::Timer, at(12));
    assert_eq!(again.send.len(), 1);
    assert_eq!((again.send[0].0, &again.send[0].1.id), (0, &step.send[0].1.id), "with the same id");
    assert!(look(&mut after, &fleet(), &[event(1)], 13).put.is_empty() || after.memory().event == Some(EventId(1)));
}

#[test]
fn what_waits_for_a_channel_that_is_gone_is_let_go() {
    let mut before = begun(vec![channel("a")]);
    let step = look(&mut before, &fleet(), &[event(1)], 10);
    let memory = Some(before.memory().clone());
    let mut after = Desk::new(vec![channel("b")], None, memory, step.put.into_iter().collect(), "o".into());
    let step = after.step(&Input::Timer, at(11));
    assert_eq!((step.remove, step.send.len()), (vec![1], 0));
}

#[test]
fn more_than_can_be_kept_is_counted() {
    let mut desk = begun(vec![channel("a")]);
    let first = look(&mut desk, &fleet(), &[event(1)], 0);
    let events: Vec<_> = (2..=300).map(event).collect();
    let step = look(&mut desk, &fleet(), &events, 1);
    assert!(step.put.len() <= KEPT);
    taken(&mut desk, &first, 2);
    let rest = desk.step(&Input::Timer, at(62));
    assert_eq!(rest.send[0].1.count, 299);
    assert!(rest.send[0].1.title.starts_with("299 more commands failed"), "{}", rest.send[0].1.title);
    taken(&mut desk, &rest, 63);
    assert_eq!(desk.view(0, at(63)).unwrap().waiting, 0);
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_back() {
    const DAYS: i64 = 3 * 86_400;
    let mut desk = begun(vec![channel("a"), channel("b")]);
    let first = look(&mut desk, &fleet(), &[event(1)], DAYS);
    desk.step(&Input::Sent { channel: 0, id: first.send[0].1.id.clone(), outcome: Ok(Taken::default()) }, at(DAYS));
    // To the other one it was not sent, and is tried again by the same clock.
    let failed = Input::Sent { channel: 1, id: first.send[1].1.id.clone(), outcome: Err(failure(Some(30), false)) };
    desk.step(&failed, at(DAYS));
    // The clock is right again: the minute is counted from now, and what was to be tried again is.
    let second = look(&mut desk, &fleet(), &[event(2)], 10);
    assert_eq!(second.send.iter().map(|(channel, _)| *channel).collect::<Vec<_>>(), [1]);
    assert!(second.memory.is_some(), "also after a restart");
    assert_eq!(wake(&desk, 10), Some(70));
    assert_eq!(titles(&desk.step(&Input::Timer, at(70))), ["switch on h2 failed"]);
}

#[test]
fn who_was_left_out_of_a_letter_is_named_and_the_letter_is_over() {
    let mut desk = begun(vec![channel("mail")]);
    let first = look(&mut desk, &fleet(), &[event(1)], 10);
    assert_eq!(first.send[0].1.tries, 0);
    let again = not_taken(&mut desk, &first, failure(None, false), 11);
    assert!(again.send.is_empty());
    let second = desk.step(&Input::Timer, at(30));
    assert_eq!(second.send[0].1.tries, 1);
    let taken = Taken { left_out: vec!["gone@example.org: 550 no such user".into()] };
    let over = desk.step(&Input::Sent { channel: 0, id: second.send[0].1.id.clone(), outcome: Ok(taken) }, at(31));
    assert_eq!(over.remove, [1]);
    let said = &over.events[0];
    assert_eq!((said.action.as_str(), said.level), ("notification_refused", Level::Warn));
    assert!(
        said.message.contains("gone@example.org: 550") && said.message.contains("switch on h1"),
        "{}",
        said.message
    );
}
