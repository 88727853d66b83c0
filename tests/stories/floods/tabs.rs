//! Tabs that do not read, read slowly, or send what no page sends. Each costs itself, and nobody else.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::fleet::{Fleet, PATIENCE};
use crate::played::{Memory, Neighbour, Played, closed, piece, wild_tab};
use crate::tab::Tab;

/// Keeps a host busy with news: facts that change, and a command that prints.
struct Noise {
    agent: Played,
    id: String,
    line: String,
    offset: usize,
    count: u32,
}

impl Noise {
    fn new(fleet: &Fleet) -> Self {
        let mut agent = Played::new(fleet, "noisy");
        let id = fleet.submit("noisy", "switch");
        assert_eq!(agent.accept(), id);
        Self { agent, id, line: "x".repeat(4000), offset: 0, count: 0 }
    }

    /// About 40 kB of output and a heartbeat.
    fn some(&mut self) {
        for _ in 0..10 {
            let end = self.offset + "1795240944007 o \n".len() + self.line.len();
            let time = "2026-11-21T06:02:24.007Z";
            let output =
                json!({ "command_id": self.id, "offset": self.offset, "end": end, "line": self.line, "time": time });
            self.agent.say("output", &output);
            self.offset = end;
        }
        self.count += 1;
        self.agent.say("heartbeat", &json!({ "running": [self.id], "metrics": { "load": self.count } }));
    }

    /// The end.
    fn over(&mut self) {
        let status = json!({ "command_id": self.id, "command": "switch", "exit_code": 0, "output_end": self.offset });
        self.agent.say("status", &status);
        self.agent.hear("status_ack");
    }
}

fn ask(tab: &mut WebSocket<TcpStream>, frame: &Value) {
    tab.send(Message::text(frame.to_string())).unwrap();
}

#[test]
fn a_tab_that_stops_reading_is_caught_up_later_and_holds_nobody_up() {
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    let mut noise = Noise::new(&fleet);
    let mut silent: Vec<_> = (0..10).map(|_| wild_tab(&fleet, "")).collect();
    for tab in &mut silent {
        ask(tab, &json!({ "type": "follow_log", "payload": { "command_id": noise.id, "offset": 0 } }));
        // Each of these is an answer of everything.
        (0..100).for_each(|_| ask(tab, &json!({ "type": "get_state" })));
    }
    let mut memory = Memory::of(&fleet);
    // More than sockets take: 20 MB of output.
    for round in 0..500 {
        noise.some();
        if round % 25 == 0 {
            neighbour.lives(&fleet);
            memory.look();
        }
    }
    noise.over();
    let id = noise.id.clone();
    let mut tab = Tab::open(&fleet);
    tab.follow(&id, 0);
    tab.follow_to_the_end(&id);
    assert_eq!(tab.text(&id).len(), 5000, "one that reads has it all");
    memory.grew_less_than(64);
    // One of them reads again: its log goes on where it stood, and the state is right in the end.
    let mut awake = silent.pop().unwrap();
    let (mut lines, mut load, began) = (0, Value::Null, Instant::now());
    let mut over = false;
    while !(over && load == f64::from(noise.count)) {
        assert!(began.elapsed() < PATIENCE, "it has {lines} lines, and sees load {load}");
        let Message::Text(text) = awake.read().unwrap() else { continue };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap();
        match frame["type"].as_str().unwrap() {
            "log" => {
                lines += frame["payload"]["lines"].as_array().unwrap().len();
                over |= frame["payload"]["over"] == true;
            }
            "full_state" => {
                let hosts = frame["payload"]["state"]["hosts"].as_array().unwrap();
                let host = hosts.iter().find(|host| host["id"] == "noisy").unwrap();
                load = host["metrics"]["load"].clone();
            }
            "delta" if frame["payload"]["change"]["id"] == "noisy" => {
                load = frame["payload"]["change"]["host"]["metrics"]["load"].clone();
            }
            _ => {}
        }
    }
    assert_eq!(lines, 5000);
    neighbour.lives(&fleet);
}

#[test]
fn a_tab_that_sends_nonsense_is_ignored_and_one_that_sends_too_much_is_closed() {
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    let mut tab = wild_tab(&fleet, "");
    for text in [
        "",
        "garbage",
        "{}",
        "[[[[",
        r#"{"type":"dance"}"#,
        r#"{"type":"resume","payload":{"epoch":"x","version":-1}}"#,
        r#"{"type":"follow_log","payload":{"command_id":"../../etc/passwd","offset":0}}"#,
        r#"{"type":"follow_log","payload":{"command_id":"0190b6a8-0000-7000-8000-0000000000ff","offset":18446744073709551615}}"#,
        r#"{"type":"unfollow_log","payload":{"command_id":"0190b6a8-0000-7000-8000-0000000000fe"}}"#,
        r#"{"type":"command","payload":{"command":"reboot"}}"#,
        r#"{"type":"register","payload":{"hostname":"neighbour"}}"#,
    ] {
        tab.send(Message::text(text)).unwrap();
    }
    ask(&mut tab, &json!({ "type": "get_state" }));
    while !matches!(tab.read().unwrap(), Message::Text(text) if text.contains("\"full_state\"")) {}
    neighbour.lives(&fleet);
    let too_many = |message: Message| vec![message; 201];
    let cases: Vec<(&str, Vec<Message>, u16)> = vec![
        ("a message that is too large", vec![Message::text("x".repeat(600 * 1024))], 1009),
        ("fragments that never end", (0..20).map(|n| piece(vec![b' '; 64 * 1024], n == 0, false)).collect(), 1009),
        ("text that is no UTF-8", vec![piece(vec![0xff, 0xfe], true, true)], 1007),
        ("too many frames", too_many(Message::text("x")), 1008),
        ("too many binary frames", too_many(Message::binary(vec![1])), 1008),
        ("too many pings", too_many(Message::Ping(vec![1].into())), 1008),
    ];
    for (what, frames, code) in cases {
        let mut tab = wild_tab(&fleet, "");
        for frame in frames {
            if tab.send(frame).is_err() {
                break;
            }
        }
        assert_eq!(closed(&mut tab), Some(code), "{what}");
        neighbour.lives(&fleet);
    }
}

#[test]
fn fifty_tabs_follow_one_flood_and_each_has_it_whole() {
    const TABS: usize = 50;
    let fleet = Fleet::new();
    fleet.repository.script("switch", "seq 1 20000");
    fleet.repository.push("a switch that floods");
    let fleet = fleet.host("hsb0");
    let mut neighbour = Neighbour::new(&fleet);
    let mut tabs: Vec<_> = (0..TABS).map(|_| wild_tab(&fleet, "")).collect();
    let mut memory = Memory::of(&fleet);
    let id = fleet.submit("hsb0", "switch");
    let followers: Vec<_> = tabs
        .drain(..)
        .map(|mut tab| {
            ask(&mut tab, &json!({ "type": "follow_log", "payload": { "command_id": id, "offset": 0 } }));
            std::thread::spawn(move || {
                let mut next = 1_u32;
                loop {
                    let Message::Text(text) = tab.read().unwrap() else { continue };
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    if frame["type"] != "log" {
                        continue;
                    }
                    for line in frame["payload"]["lines"].as_array().unwrap() {
                        if line["stream"] == "stdout" {
                            assert_eq!(line["line"], next.to_string(), "each line once, in order");
                            next += 1;
                        }
                    }
                    if frame["payload"]["over"] == true {
                        return next - 1;
                    }
                }
            })
        })
        .collect();
    let began = Instant::now();
    while !followers.iter().all(std::thread::JoinHandle::is_finished) {
        neighbour.lives(&fleet);
        memory.look();
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{TABS} tabs had 20,000 lines after {:?}", began.elapsed());
    for follower in followers {
        assert_eq!(follower.join().unwrap(), 20_000);
    }
    memory.grew_less_than(96);
}
