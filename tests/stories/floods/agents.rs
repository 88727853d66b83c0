//! Agents that send what no agent of ours would: nonsense, too much, too big, too fast, and about others. Their
//! token is good, so they are let in; what they say costs them and nobody else.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::fleet::Fleet;
use crate::played::{Memory, Neighbour, Played, closed, dial, piece, token_for};
use crate::security::Browser;

/// Half a mebibyte is the most that one message may take.
const TOO_LARGE: usize = 600 * 1024;

#[test]
fn what_is_no_message_ends_the_link_with_its_code() {
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    let mut agent = Played::new(&fleet, "bad");
    let large = json!({ "type": "heartbeat", "payload": { "x": "x".repeat(TOO_LARGE) } }).to_string();
    let cases: Vec<(&str, Vec<Message>, u16)> = vec![
        ("garbage", vec![Message::text("garbage"); 101], 1008),
        ("binary frames", vec![Message::binary(vec![7; 100]); 101], 1008),
        ("payloads of a wrong shape", vec![Message::text(r#"{"type":"heartbeat","payload":7}"#); 101], 1008),
        ("a message that is too large", vec![Message::text(large)], 1009),
        ("fragments that never end", (0..20).map(|n| piece(vec![b' '; 64 * 1024], n == 0, false)).collect(), 1009),
        ("text that is no UTF-8", vec![piece(vec![b'"', 0xff, 0xfe, b'"'], true, true)], 1007),
        ("half a character", vec![piece(vec![b'"', 0xe2, 0x82], true, true)], 1007),
        ("a fragment of nothing", vec![piece(vec![b'x'], false, true)], 1002),
    ];
    for (what, frames, code) in cases {
        for frame in frames {
            agent.send(frame);
        }
        assert_eq!(agent.closed(), Some(code), "{what}");
        neighbour.lives(&fleet);
        agent.again(&fleet, &json!({}));
    }
    // Nor before it said who it is.
    let mut stranger = Played::stranger(&fleet, "stranger");
    stranger.send(Message::text("x".repeat(TOO_LARGE)));
    assert_eq!(stranger.closed(), Some(1009));
    let mut hasty = dial(&fleet, &token_for(&fleet, "hasty"), "");
    hasty.send(Message::text(json!({ "type": "heartbeat", "payload": {} }).to_string())).unwrap();
    assert_eq!(closed(&mut hasty), Some(1008), "the first message must be register");
    neighbour.lives(&fleet);
}

#[test]
fn a_hundred_thousand_heartbeats_at_once_are_read_slower_and_nobody_else_notices() {
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    let mut memory = Memory::of(&fleet);
    let mut floods = Vec::new();
    for name in ["fast-1", "fast-2"] {
        let mut agent = Played::new(&fleet, name);
        floods.push(std::thread::spawn(move || {
            // It ends when all is sent, or with the daemon.
            let beat = |n: u32| json!({ "type": "heartbeat", "payload": { "metrics": { "load": n } } }).to_string();
            (0..100_000).take_while(|n| agent.socket.send(Message::text(beat(*n))).is_ok()).count()
        }));
    }
    let mut pings = Played::new(&fleet, "pings");
    floods.push(std::thread::spawn(move || {
        (0..100_000).take_while(|_| pings.socket.send(Message::Ping(vec![7; 100].into())).is_ok()).count()
    }));
    for _ in 0..40 {
        neighbour.lives(&fleet);
        memory.look();
    }
    memory.grew_less_than(48);
    drop(fleet);
    for flood in floods {
        println!("{} were sent", flood.join().unwrap());
    }
}

/// Markup, quotes, control characters, a bidirectional override, and an escape sequence.
const NASTY: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{1b}[2J\u{1b}[31m\u{202e}\u{0}\n&amp;";

#[test]
fn nothing_that_an_agent_says_becomes_markup() {
    let fleet = Fleet::new();
    let mut watcher = crate::played::wild_tab(&fleet, "?view=html&page=fleet");
    let nasty = json!({
        "os_version": NASTY, "nixpkgs_version": NASTY, "agent_version": NASTY, "repo_url": NASTY, "repo_dir": NASTY,
        "theme_color": NASTY, "location": NASTY, "device_type": NASTY, "host_type": NASTY, "tags": [NASTY],
        "features": [NASTY], "mac_addresses": [NASTY], "boot_id": NASTY, "store_path": NASTY, "system_path": NASTY,
        "deployed": { "commit": "fedcba9", "at": "2026-11-21T06:00:00Z", "system_path": NASTY },
    });
    let mut agent = Played::saying(&fleet, "bad", &nasty);
    agent.say(
        "heartbeat",
        &json!({
            "pending_command": NASTY, "failed_units": [NASTY], "repo_error": NASTY, "system_path": NASTY,
            "metrics": { "cpu": 1e308, "ram": -7, "swap": "x", "load": NASTY },
            "update_status": { "system": { "status": NASTY, "message": NASTY } },
        }),
    );
    let id = fleet.submit("bad", "switch");
    assert_eq!(agent.accept(), id);
    let progress = json!({ "command_id": id, "phase": NASTY, "text": NASTY, "done": u64::MAX, "expected": 1 });
    agent.say("progress", &progress);
    agent.say("test_progress", &json!({ "command_id": id, "result": NASTY, "current": u64::MAX, "total": 0 }));
    agent.say("output", &json!({ "command_id": id, "offset": 0, "end": 200, "line": NASTY }));
    fleet.wait("the line is there", |fleet| fleet.command(&id)["log_bytes"].as_u64() == Some(200));
    let browser = Browser::log_in(&fleet);
    let harmless = |what: &str, page: &str| {
        for bad in ["<script>alert", "<img src=x", "\u{1b}", "\u{202e}", "\u{0}", "'><img", "\"'>"] {
            if let Some(at) = page.find(bad) {
                let start = (0..=at.saturating_sub(200)).rev().find(|at| page.is_char_boundary(*at)).unwrap();
                let end = (at + 100..page.len()).find(|at| page.is_char_boundary(*at)).unwrap_or(page.len());
                panic!("{bad:?} in {what}: {}", &page[start..end]);
            }
        }
    };
    let everywhere = |when: &str| {
        for path in ["/".to_owned(), "/hosts/bad".to_owned(), "/events".to_owned(), format!("/commands/{id}")] {
            harmless(&format!("{path} {when}"), &browser.page(&path));
        }
    };
    everywhere("while it runs");
    agent.say(
        "status",
        &json!({
            "command_id": id, "command": "switch", "exit_code": 4, "message": NASTY, "stage": NASTY, "status": NASTY,
            "output_end": 200, "details": { NASTY: NASTY, "failed": [NASTY], "passed": NASTY }, "system_path": NASTY,
        }),
    );
    fleet.ended(&id);
    everywhere("when it is over");
    let other = fleet.submit("bad", "pull");
    assert_eq!(agent.accept(), other);
    agent.say("command_rejected", &json!({ "command_id": other, "reason": NASTY }));
    fleet.ended(&other);
    everywhere("when one was rejected");
    // What open pages were sent on the way.
    watcher.get_ref().set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let mut frames = 0;
    while let Ok(message) = watcher.read() {
        if let Message::Text(text) = message {
            let frame: Value = serde_json::from_str(text.as_str()).unwrap();
            for fragment in frame["payload"]["fragments"].as_array().into_iter().flatten() {
                harmless("a fragment", fragment["html"].as_str().unwrap_or_default());
                frames += 1;
            }
        }
    }
    assert!(frames > 5, "{frames} fragments were looked at");
}

#[test]
fn what_an_agent_says_of_others_changes_nothing() {
    let fleet = Fleet::new();
    let mut victim = Played::new(&fleet, "victim");
    let mut bad = Played::new(&fleet, "bad");
    let id = fleet.submit("victim", "switch");
    assert_eq!(victim.accept(), id);
    let line = "1795240944007 o mine\n";
    let end = line.len();
    victim.say(
        "output",
        &json!({ "command_id": id, "offset": 0, "end": end, "line": "mine", "time": "2026-11-21T06:02:24.007Z" }),
    );
    fleet.wait("the line is there", |fleet| {
        fleet.output(&id) == ["mine"] && fleet.command(&id)["log_bytes"].as_u64() == u64::try_from(end).ok()
    });
    fleet.wait("the remote was asked about the victim's commit", |fleet| {
        fleet.get("/api/v1/hosts/victim").1["lights"]["git"]["message"].to_string().contains("does not know")
    });
    let before = (fleet.command(&id), fleet.get("/api/v1/hosts/victim").1["lights"].clone());
    // Claimed at the register too, as if it ran there.
    bad.again(&fleet, &json!({ "running": [id], "results": [id] }));
    let beat = json!({ "running": [id], "pending_command": "switch", "hostname": "victim", "host": "victim" });
    bad.say("heartbeat", &beat);
    bad.say("accepted", &json!({ "command_id": id }));
    bad.say("progress", &json!({ "command_id": id, "phase": "stolen", "done": 1, "expected": 2 }));
    bad.say("test_progress", &json!({ "command_id": id, "current": 1, "total": 2, "result": "stolen" }));
    bad.say("output", &json!({ "command_id": id, "offset": end, "end": end + 30, "line": "stolen" }));
    bad.say("output", &json!({ "command_id": id, "offset": 0, "end": 30, "line": "stolen" }));
    bad.say("command_rejected", &json!({ "command_id": id, "reason": "stolen" }));
    bad.say("status", &json!({ "command_id": id, "command": "switch", "exit_code": 0, "output_end": 0 }));
    // As another host, on the same link: a second register is no register.
    bad.say("register", &json!({ "hostname": "victim", "protocol": 3, "agent_version": "6.6.6", "running": [] }));
    for strange in ["../../victim/x", "..", "", "/etc/passwd", "0190b6a8", &"0".repeat(5000), "x\u{0}y"] {
        bad.say("output", &json!({ "command_id": strange, "offset": 0, "end": 30, "line": "stolen" }));
        bad.say("status", &json!({ "command_id": strange, "command": strange, "exit_code": 0, "output_end": 0 }));
        bad.say("accepted", &json!({ "command_id": strange }));
    }
    let unknown = "0190b6a8-0000-7000-8000-0000000000ff";
    bad.say("output", &json!({ "command_id": unknown, "offset": 0, "end": 30, "line": "stolen" }));
    // All of it was heard when this one is seen.
    bad.say("heartbeat", &json!({ "metrics": { "load": 77 } }));
    fleet.wait("it was heard", |fleet| fleet.get("/api/v1/hosts/bad").1["metrics"]["load"] == 77.0);
    assert_eq!((fleet.command(&id), fleet.get("/api/v1/hosts/victim").1["lights"].clone()), before);
    assert_eq!(fleet.output(&id), ["mine"]);
    assert_eq!(fleet.get("/api/v1/hosts/victim").1["agent_version"], "3.0.0");
    let victims: Vec<_> = std::fs::read_dir(fleet.data_dir().join("logs/victim")).unwrap().flatten().collect();
    assert_eq!(victims.len(), 1, "{victims:?}");
    let mut folders: Vec<_> =
        std::fs::read_dir(fleet.data_dir().join("logs")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    folders.sort();
    assert!(folders == ["bad", "victim"] || folders == ["victim"], "{folders:?}");
    // And the victim comes to its own end.
    victim.say("status", &json!({ "command_id": id, "command": "switch", "exit_code": 0, "output_end": end }));
    victim.hear("status_ack");
    assert_eq!(fleet.ended(&id)["exit_code"], 0);
}

#[test]
fn output_that_lies_about_itself_is_taken_as_far_as_it_joins() {
    let fleet = Fleet::new();
    let mut agent = Played::new(&fleet, "bad");
    let id = fleet.submit("bad", "switch");
    assert_eq!(agent.accept(), id);
    let time = "2026-11-21T06:02:24.007Z";
    let record = |text: &str| u64::try_from(format!("1795240944007 o {text}\n").len()).unwrap();
    let say = |agent: &mut Played, offset: u64, end: u64, line: &str, stream: &str| {
        agent.say(
            "output",
            &json!({ "command_id": id, "offset": offset, "end": end, "line": line, "stream": stream, "time": time }),
        );
    };
    let one = record("one");
    say(&mut agent, 0, one, "one", "stdout");
    say(&mut agent, 0, one, "again", "stdout"); // going back
    say(&mut agent, one + 500, one + 520, "beyond a hole", "stdout"); // a hole without a mark
    say(&mut agent, one, 0, "an end before its beginning", "stdout");
    say(&mut agent, one, u64::MAX, "an end beyond everything", "stdout");
    say(&mut agent, one, one + 3, "no room for its own head", "stdout");
    say(&mut agent, u64::MAX, u64::MAX, "beyond everything", "stdout");
    say(&mut agent, one, 0, "a mark that leads back", "mark");
    // A mark is no way back: what it said stands as a record, and the log goes on behind it.
    fleet.wait("the mark is there", |fleet| fleet.log(&id).len() == 2);
    let log = |fleet: &Fleet| fleet.text(&format!("/api/v1/commands/{id}/log?from=0")).1;
    let last = |fleet: &Fleet| -> u64 {
        let line: Value = serde_json::from_str(log(fleet).lines().last().unwrap()).unwrap();
        line["end"].as_u64().unwrap()
    };
    let behind = last(&fleet);
    // A line longer than any may be, as far as it fits; then a mark that leads far away.
    let endless = "y".repeat(100_000);
    say(&mut agent, behind, behind + record(&endless), &endless, "stdout");
    let two = record("two");
    say(&mut agent, behind, behind + two, "two", "stdout");
    say(&mut agent, behind + two, 1 << 39, "half a tebibyte was cut", "mark");
    say(&mut agent, 1 << 39, (1 << 39) + record("three"), "three", "stdout");
    fleet.wait("the last line is there", |fleet| fleet.output(&id).last().is_some_and(|line| line == "three"));
    let printed: Vec<_> = fleet.log(&id).into_iter().filter(|(stream, _)| stream == "stdout").collect();
    let texts: Vec<_> = printed.iter().map(|(_, line)| line.trim_end()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let file = fleet.data_dir().join("logs/bad").join(format!("{id}.log"));
    let stored = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(file).unwrap()) * 512;
    assert!(stored < 1 << 20, "a hole takes no room: {stored}");
    let mut tab = crate::tab::Tab::open(&fleet);
    tab.follow(&id, one);
    tab.until("the tab has the end too", |tab| tab.text(&id).last() == Some(&"three"));
    // A result that comes before its output is not taken: the agent is asked to tell again.
    let beyond = (1_u64 << 39) + 10_000;
    agent.say("status", &json!({ "command_id": id, "command": "switch", "exit_code": 0, "output_end": beyond }));
    assert_eq!(agent.closed(), Some(1012));
    assert!(fleet.command(&id)["finished_at"].is_null());
    agent.again(&fleet, &json!({ "results": [id] }));
    let end = last(&fleet);
    let mut details = String::new();
    (0..30_000).for_each(|n| write!(details, "{n:09} ").unwrap());
    let status = json!({
        "command_id": id, "command": "switch", "exit_code": 0, "output_end": end, "details": { "text": details },
    });
    agent.say("status", &status);
    assert_eq!(agent.hear("status_ack")["command_id"], id.as_str());
    let command = fleet.ended(&id);
    assert_eq!(command["exit_code"], 0);
    assert!(command["details"].to_string().len() <= 128 * 1024, "details are bounded");
    assert_eq!(command["details"]["cut"], "the details were too large");
}

#[test]
fn facts_of_wrong_types_and_endless_lists_are_kept_as_far_as_they_are_facts() {
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    let many: Vec<String> = (0..1500).map(|n| format!("{n}-{}", "x".repeat(60))).collect();
    let numbers: Vec<Value> = (0..5000).map(|n| json!({ "number": n, "current": true })).collect();
    let mut agent = Played::saying(&fleet, "bad", &json!({ "tags": many, "features": many, "running": many }));
    let mut deep = "[".repeat(100_000);
    deep.push_str(&"]".repeat(100_000));
    let texts = [
        format!(r#"{{"type":"heartbeat","payload":{{"metrics":{deep}}}}}"#),
        format!(r#"{{"type":"heartbeat","payload":{deep}}}"#),
        deep,
        r#"{"type":"heartbeat","payload":{"metrics":{"cpu":1e999,"ram":-1e308},"tests":-1,"disk":{"store_free":1e40,"store_total":-7}}}"#.to_owned(),
        r#"{"type":"heartbeat","payload":{"tests":99999999999999999999999999999999,"heartbeat_interval":-5,"generation":17}}"#.to_owned(),
        r#"{"type":"heartbeat","payload":{"generations":7,"running":"all","failed_units":{"a":1},"deployed":[1,2],"reboot_required":"maybe"}}"#.to_owned(),
        r#"{"type":"from-the-future","payload":{"x":1}}"#.to_owned(),
        r#"{"type":"from-the-future","payload":{"x":2}}"#.to_owned(),
    ];
    for text in texts {
        agent.send(Message::text(text));
    }
    agent.say("heartbeat", &json!({ "generations": numbers, "failed_units": many, "running": many }));
    agent.say("heartbeat", &json!({ "metrics": { "load": 77 } }));
    fleet.wait("it was heard", |fleet| fleet.get("/api/v1/hosts/bad").1["metrics"]["load"] == 77.0);
    let host = fleet.get("/api/v1/hosts/bad").1;
    assert_eq!(host["state"], "online");
    assert!(host["tags"].as_array().unwrap().len() <= 100);
    assert!(host["failed_units"].as_array().unwrap().len() <= 100);
    assert!(host.to_string().len() < 64 * 1024, "a host stays small: {}", host.to_string().len());
    let page = Browser::log_in(&fleet).page("/hosts/bad");
    assert!(page.len() < 512 * 1024, "and so does its page: {}", page.len());
    assert_eq!(fleet.logs().matches("from-the-future").count(), 1, "an unknown type is told once");
    neighbour.lives(&fleet);
}
