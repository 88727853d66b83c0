//! What is news and what is not.

use super::*;

/// A desk that has looked once at an empty fleet.
fn begun() -> Desk {
    let mut desk = desk(vec![channel("a")]);
    assert!(look(&mut desk, &fleet(), &[], 0).send.is_empty());
    desk
}

fn pull_request() -> PullRequest {
    PullRequest {
        number: 7,
        title: "flake.lock: update".into(),
        url: "https://example.org/pull".into(),
        mergeable: None,
        why_not: None,
        author: "bot".into(),
        head: "abcdef1".parse().unwrap(),
        labels: Vec::new(),
        commits: None,
        changed_files: None,
        created_at: at(0),
    }
}

fn told(desk: &mut Desk, fleet: &FleetState, events: &[Arc<Event>], second: i64) -> Vec<(Kind, Level, String)> {
    let step = look(desk, fleet, events, second);
    step.put
        .iter()
        .filter(|(_, it)| it.notice.at == at(second))
        .map(|(_, it)| (it.notice.kind, it.notice.level, it.notice.title.clone()))
        .collect()
}

#[test]
fn ends_that_nobody_wished_for_are_told_and_others_not() {
    for (state, title) in [
        ("ERROR", Some("switch on hsb0 failed")),
        ("PARTIAL", Some("switch on hsb0 did not reach its goal")),
        ("TIMEOUT", Some("switch on hsb0 gave no answer in time")),
        ("ORPHANED", Some("switch on hsb0 is lost")),
        ("STALE_BINARY", Some("switch on hsb0 did not reach its goal")),
        ("SUCCESS", None),
        ("KILLED", None),
        ("BLOCKED", None),
        ("CANCELLED", None),
    ] {
        let mut desk = begun();
        let told = told(&mut desk, &fleet(), &[failed(1, Some("hsb0"), state)], 5);
        assert_eq!(told.first().map(|(_, _, title)| title.as_str()), title, "{state}");
    }
}

#[test]
fn an_end_that_says_nothing_of_its_command_is_told_in_its_own_words_where_it_is_bad() {
    for (level, expected) in [(Level::Error, true), (Level::Warn, true), (Level::Info, false), (Level::Success, false)]
    {
        let mut desk = begun();
        let mut event = (*failed(1, None, "ERROR")).clone();
        (event.level, event.message) = (level, "merge-pr failed: no right".to_owned());
        event.details = serde_json::json!({ "command": "0190b6a8-0000-7000-8000-000000000001", "op": "merge-pr" });
        let told = told(&mut desk, &fleet(), &[Arc::new(event)], 5);
        let words = expected.then(|| (Kind::CommandFailed, level, "merge-pr failed: no right".to_owned()));
        assert_eq!(told, words.into_iter().collect::<Vec<_>>(), "{level:?}");
    }
}

#[test]
fn an_event_is_looked_at_once_also_over_a_restart() {
    let mut desk = begun();
    let events = [failed(1, Some("hsb0"), "ERROR")];
    let step = look(&mut desk, &fleet(), &events, 5);
    assert_eq!(step.put.len(), 1);
    let memory: Memory = serde_json::from_slice(&serde_json::to_vec(desk.memory()).unwrap()).unwrap();
    assert_eq!((memory.event, &memory), (Some(EventId(1)), desk.memory()), "the memory is whole in its JSON");
}

#[test]
fn a_host_is_gone_when_it_is_offline_and_back_when_it_is_online() {
    let mut desk = begun();
    let mut fleet = fleet();
    for (state, second, title) in [
        (HostState::Online, 1, None),
        (HostState::Stale, 2, None),
        (HostState::Online, 3, None),
        (HostState::Stale, 4, None),
        (HostState::Offline, 70, Some((Kind::HostGone, Level::Warn, "hsb0 is gone"))),
        (HostState::Offline, 80, None),
        (HostState::Stale, 90, None),
        (HostState::Online, 100, Some((Kind::HostBack, Level::Success, "hsb0 is back"))),
        (HostState::Online, 110, None),
    ] {
        host(&mut fleet, "hsb0", state, &[]);
        let told = told(&mut desk, &fleet, &[], second);
        let expected: Vec<_> = title.into_iter().map(|(kind, level, title)| (kind, level, title.to_owned())).collect();
        assert_eq!(told, expected, "{state:?} at {second}");
    }
}

#[test]
fn hosts_that_were_gone_before_the_first_look_are_no_news_and_neither_is_their_return() {
    let mut desk = desk(vec![channel("a")]);
    let mut fleet = fleet();
    host(&mut fleet, "hsb0", HostState::Offline, &[]);
    assert_eq!(told(&mut desk, &fleet, &[failed(1, None, "ERROR")], 0), []);
    host(&mut fleet, "hsb0", HostState::Online, &[]);
    assert_eq!(told(&mut desk, &fleet, &[], 10), []);
}

#[test]
fn a_daemon_that_has_just_started_waits_for_its_agents_before_it_tells_that_they_are_gone() {
    let mut desk = begun();
    let mut fleet = fleet();
    let started = Server { started_at: at(100), ..(*fleet.server).clone() };
    fleet.apply(StateChange::Server(Arc::new(started)));
    host(&mut fleet, "hsb0", HostState::Offline, &[]);
    assert_eq!(told(&mut desk, &fleet, &[], 101), []);
    let settled = 100 + i64::try_from(SETTLED.as_secs()).unwrap();
    assert_eq!(told(&mut desk, &fleet, &[], settled - 1), []);
    assert_eq!(told(&mut desk, &fleet, &[], settled).len(), 1);
}

#[test]
fn a_removed_host_is_forgotten() {
    let mut desk = begun();
    let mut fleet = fleet();
    host(&mut fleet, "hsb0", HostState::Offline, &[]);
    assert_eq!(told(&mut desk, &fleet, &[], 1).len(), 1);
    fleet.apply(StateChange::HostRemoved("hsb0".parse().unwrap()));
    assert_eq!(told(&mut desk, &fleet, &[], 2), []);
    assert!(desk.memory().gone.is_empty());
}

#[test]
fn the_remote_is_told_unreadable_once_and_readable_after_a_good_answer() {
    let mut desk = begun();
    let mut fleet = fleet();
    let mut tell = |desk: &mut Desk, error: Option<&str>, read: i64, second: i64| {
        let remote = Remote {
            source: Some("/repo".into()),
            error: error.map(str::to_owned),
            read_at: Some(at(read)),
            ..Remote::default()
        };
        fleet.apply(StateChange::Remote(Arc::new(remote)));
        told(desk, &fleet, &[], second).into_iter().map(|(kind, _, _)| kind).collect::<Vec<_>>()
    };
    assert_eq!(tell(&mut desk, Some("can't be read since noon"), 0, 100), [Kind::RemoteUnreadable]);
    assert_eq!(tell(&mut desk, Some("another reason"), 0, 200), []);
    assert_eq!(tell(&mut desk, None, 0, 300), [], "a daemon that has just started knows nothing yet");
    assert_eq!(tell(&mut desk, None, 350, 351), [Kind::RemoteReadable]);
    assert_eq!(tell(&mut desk, None, 400, 401), []);
}

#[test]
fn an_update_is_told_once_for_each_pull_request_also_when_it_waited_before_we_began() {
    let mut desk = desk(vec![channel("a")]);
    let mut fleet = fleet();
    for (number, second, count) in [(7, 0, 1), (7, 1, 0), (8, 2, 1)] {
        let pull_request = PullRequest { number, ..pull_request() };
        let remote = Remote { pull_request: Some(pull_request), ..(*fleet.remote).clone() };
        fleet.apply(StateChange::Remote(Arc::new(remote)));
        let told = told(&mut desk, &fleet, &[], second);
        assert_eq!(told.len(), count, "{number} at {second}");
        assert!(told.iter().all(|(kind, _, title)| *kind == Kind::UpdateWaiting && title.contains("flake.lock")));
    }
}

#[test]
fn runs_are_told_when_they_halt_and_when_they_are_over() {
    use nixfleet_protocol::api::CommandState::{Error, Skipped, Success};
    let mut desk = begun();
    let mut fleet = fleet();
    let mut run: Run = serde_json::from_value(serde_json::json!({
        "id": "0190b6a8-0000-7000-8000-000000000009", "pipeline": "do-all", "label": "Do all", "actor": "user",
        "state": "RUNNING", "message": "", "stage": 0, "ops": [], "hosts": { "a": [Success, Success], "b": [Error, Skipped] },
        "commands": {}, "notes": {}, "groups": [], "group": 0, "waits": [], "halted": null, "options": {},
        "created_at": at(0), "finished_at": null,
    }))
    .unwrap();
    for (state, expected) in [
        (RunState::Running, None),
        (RunState::Halted, Some((Kind::RunHalted, Level::Warn, "do-all halted and waits for a decision"))),
        (RunState::Halted, None),
        (RunState::Running, None),
        (RunState::Halted, Some((Kind::RunHalted, Level::Warn, "do-all halted and waits for a decision"))),
        (RunState::Partial, Some((Kind::RunFinished, Level::Warn, "do-all came through on 1 of 2 hosts"))),
        (RunState::Partial, None),
    ] {
        run.state = state;
        run.stage += 1;
        fleet.apply(StateChange::Run(Arc::new(run.clone())));
        let expected: Vec<_> =
            expected.into_iter().map(|(kind, level, title)| (kind, level, title.to_owned())).collect();
        assert_eq!(told(&mut desk, &fleet, &[], i64::from(run.stage)), expected, "{state:?}");
    }
}

#[test]
fn rules_are_by_kind_level_host_and_tag() {
    let rules = |kinds: &[Kind], levels: &[Level], hosts: &[&str], tags: &[&str]| Rules {
        kinds: kinds.to_vec(),
        levels: levels.to_vec(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let news = |kind, level, hosts: &[(&str, &str)]| News {
        notice: Notice {
            kind,
            level,
            host: None,
            subject: String::new(),
            title: String::new(),
            text: String::new(),
            path: String::new(),
            at: at(0),
        },
        hosts: hosts.iter().map(|(host, tag)| (host.parse().unwrap(), vec![(*tag).to_owned()])).collect(),
    };
    let gone = news(Kind::HostGone, Level::Warn, &[("web1", "prod")]);
    let unreadable = news(Kind::RemoteUnreadable, Level::Error, &[]);
    let run = news(Kind::RunFinished, Level::Warn, &[("web1", "prod"), ("lab1", "test")]);
    for (what, rules, expected) in [
        ("nothing named", rules(&[], &[], &[], &[]), (true, true, true)),
        ("a kind", rules(&[Kind::HostGone], &[], &[], &[]), (true, false, false)),
        ("a level", rules(&[], &[Level::Error], &[], &[]), (false, true, false)),
        ("a host", rules(&[], &[], &["web*"], &[]), (true, true, true)),
        ("another host", rules(&[], &[], &["db?"], &[]), (false, true, false)),
        ("a tag", rules(&[], &[], &[], &["test"]), (false, true, true)),
        ("host and tag of one host", rules(&[], &[], &["web*"], &["test"]), (false, true, false)),
        ("all of them", rules(&[Kind::HostGone], &[Level::Warn], &["web1"], &["prod"]), (true, false, false)),
    ] {
        assert_eq!((rules.take(&gone), rules.take(&unreadable), rules.take(&run)), expected, "{what}");
    }
}

#[test]
fn quiet_hours_are_by_the_clocks_of_their_place() {
    let east = TimeZone::fixed(Offset::constant(5));
    for (text, zone, moment, end) in [
        ("22:00-07:00", TimeZone::UTC, "2027-03-10T21:59:59Z", None),
        ("22:00-07:00", TimeZone::UTC, "2027-03-10T22:00:00Z", Some("2027-03-11T07:00:00Z")),
        ("22:00-07:00", TimeZone::UTC, "2027-03-11T06:59:59Z", Some("2027-03-11T07:00:00Z")),
        ("22:00-07:00", TimeZone::UTC, "2027-03-11T07:00:00Z", None),
        ("9:30-17:00", TimeZone::UTC, "2027-03-10T12:00:00Z", Some("2027-03-10T17:00:00Z")),
        ("22:00-07:00", east.clone(), "2027-03-10T17:30:00Z", Some("2027-03-11T02:00:00Z")),
        ("22:00-07:00", east, "2027-03-10T22:30:00Z", Some("2027-03-11T02:00:00Z")),
    ] {
        let quiet = Quiet::parse(text, zone).unwrap();
        let moment: Time = moment.parse().unwrap();
        assert_eq!(quiet.end(moment), end.map(|end| end.parse().unwrap()), "{text} {moment}");
        assert_eq!(quiet.covers(moment), end.is_some());
    }
    for bad in
        ["", "22-7", "22:00", "24:00-07:00", "22:60-07:00", "07:00-07:00", "a:b-c:d", "-1:00-2:00", "22:00–07:00"]
    {
        assert_eq!(Quiet::parse(bad, TimeZone::UTC), Err(BadQuiet), "{bad:?}");
    }
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert_eq!("host_lost".parse::<Kind>(), Err(NoKind));
}

#[test]
fn quiet_hours_end_at_the_first_moment_that_is_not_quiet_also_when_clocks_are_moved() {
    let berlin = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    for (what, text, moment, end) in [
        // On 28 March the clocks go from 02:00 to 03:00, at 01:00 UTC.
        ("the end is jumped over", "22:00-02:30", "2027-03-28T00:30:00Z", Some("2027-03-28T01:00:00Z")),
        ("after the jump", "22:00-02:30", "2027-03-28T01:00:00Z", None),
        ("the beginning is jumped over", "02:30-07:00", "2027-03-28T01:00:00Z", Some("2027-03-28T05:00:00Z")),
        ("a night that loses an hour", "22:00-07:00", "2027-03-27T22:00:00Z", Some("2027-03-28T05:00:00Z")),
        // On 31 October they go from 03:00 to 02:00, at 01:00 UTC.
        ("the end comes a first time", "22:00-02:30", "2027-10-31T00:10:00Z", Some("2027-10-31T00:30:00Z")),
        ("between the two", "22:00-02:30", "2027-10-31T00:30:00Z", None),
        ("the end comes a second time", "22:00-02:30", "2027-10-31T01:10:00Z", Some("2027-10-31T01:30:00Z")),
        ("the beginning comes twice", "02:30-07:00", "2027-10-31T00:40:00Z", Some("2027-10-31T01:00:00Z")),
        ("a night with an hour more", "22:00-07:00", "2027-10-30T21:00:00Z", Some("2027-10-31T06:00:00Z")),
    ] {
        let quiet = Quiet::parse(text, berlin()).unwrap();
        let moment: Time = moment.parse().unwrap();
        assert_eq!(quiet.end(moment), end.map(|end| end.parse().unwrap()), "{what}");
        assert_eq!(quiet.covers(moment), end.is_some(), "{what}");
    }
}

#[test]
fn an_update_is_told_once_however_often_another_one_stands_before_it() {
    let mut desk = begun();
    let mut fleet = fleet();
    let mut tell = |desk: &mut Desk, number: Option<u64>, second: i64| {
        let pull_request = number.map(|number| PullRequest { number, ..pull_request() });
        let remote = Remote { source: Some("/repo".into()), pull_request, ..Remote::default() };
        fleet.apply(StateChange::Remote(Arc::new(remote)));
        told(desk, &fleet, &[], second).len()
    };
    let seen: Vec<_> = [Some(13), Some(12), Some(13), None, Some(12), Some(14)]
        .into_iter()
        .zip([100, 200, 300, 400, 500, 600])
        .map(|(number, second)| tell(&mut desk, number, second))
        .collect();
    assert_eq!(seen, [1, 1, 0, 0, 0, 1]);
    for number in 0..100 {
        tell(&mut desk, Some(1_000 + number), 700);
    }
    assert!(desk.memory().updates.len() <= 32, "it remembers a few");
}
