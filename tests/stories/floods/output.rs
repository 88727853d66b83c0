//! Commands that print without end, and what is in the log, in a tab and behind the API afterwards.

use std::time::Instant;

use serde_json::Value;

use crate::fleet::Fleet;
use crate::played::{Memory, Neighbour};
use crate::tab::Tab;

/// How many lines the flood has. More of them where there is time: `NIXFLEET_FLOOD_LINES=1000000`.
fn lines() -> usize {
    std::env::var("NIXFLEET_FLOOD_LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(200_000)
}

/// The lines of a log from an offset on, as the API has them.
fn ndjson(fleet: &Fleet, id: &str, from: u64) -> Vec<Value> {
    let (status, text) = fleet.text(&format!("/api/v1/commands/{id}/log?from={from}"));
    assert_eq!(status, 200);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The text of a line of the API.
fn text(line: &Value) -> &str {
    line["line"].as_str().unwrap()
}

/// Every line joins the one before, or a mark leads over what is missing.
fn joined(lines: &[Value]) {
    for pair in lines.windows(2) {
        let (end, next) = (pair[0]["end"].as_u64().unwrap(), pair[1]["offset"].as_u64().unwrap());
        assert_eq!(end, next, "a hole that no mark leads over: {} {}", pair[0], pair[1]);
    }
}

/// A fleet whose switch runs this.
fn switch(body: &str) -> Fleet {
    let fleet = Fleet::new();
    fleet.repository.script("switch", body);
    fleet.repository.push("a switch that floods");
    fleet.host("hsb0")
}

#[test]
fn a_flood_of_lines_is_whole_everywhere_and_nobody_else_notices() {
    let lines = lines();
    let fleet = switch(&format!("seq 1 {lines}"));
    let mut neighbour = Neighbour::new(&fleet);
    let mut tab = Tab::open(&fleet);
    let mut memory = Memory::of(&fleet);
    let began = Instant::now();
    let id = fleet.submit("hsb0", "switch");
    tab.follow(&id, 0);
    let (over, ended) = std::sync::mpsc::channel();
    let follower = {
        let id = id.clone();
        std::thread::spawn(move || {
            tab.follow_to_the_end(&id);
            over.send(()).unwrap();
            tab
        })
    };
    while ended.try_recv().is_err() {
        assert!(!follower.is_finished() || ended.try_recv().is_ok(), "the tab failed");
        neighbour.lives(&fleet);
        memory.look();
    }
    println!("{lines} lines in a tab after {:?}, {} heartbeats meanwhile", began.elapsed(), neighbour.beats());
    let tab = follower.join().unwrap();
    assert_eq!(fleet.ended(&id)["state"], "SUCCESS");

    let expected: Vec<String> = (1..=lines).map(|n| n.to_string()).collect();
    assert!(tab.text(&id) == expected, "the tab has every line, in order, once");
    let all = ndjson(&fleet, &id, 0);
    joined(&all);
    let printed: Vec<&str> = all.iter().filter(|line| line["stream"] == "stdout").map(text).collect();
    assert!(printed == expected, "the log has every line, in order, once");
    let (_, raw) = fleet.text(&format!("/api/v1/commands/{id}/log?raw=1"));
    assert!(raw.lines().eq(all.iter().map(text)), "plain text is the same");
    // From any offset, also from one inside a record: what is left, beginning with a whole record.
    for part in [1, 3, 7] {
        let line = &all[all.len() * part / 8];
        let (offset, end) = (line["offset"].as_u64().unwrap(), line["end"].as_u64().unwrap());
        let from = all.len() * part / 8;
        assert!(ndjson(&fleet, &id, offset) == all[from..], "from {offset}");
        assert!(ndjson(&fleet, &id, end - 1) == all[from + 1..], "from the middle of a record");
    }
    memory.grew_less_than(96);
}

#[test]
fn a_line_of_ten_megabytes_is_cut_into_pieces_and_nothing_of_it_is_lost() {
    let fleet = switch("head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after");
    let mut tab = Tab::open(&fleet);
    let mut memory = Memory::of(&fleet);
    let id = fleet.submit("hsb0", "switch");
    tab.follow(&id, 0);
    tab.follow_to_the_end(&id);
    memory.look();
    assert_eq!(fleet.ended(&id)["state"], "SUCCESS");
    let all = ndjson(&fleet, &id, 0);
    joined(&all);
    let long: Vec<_> = all.iter().filter(|line| text(line).starts_with("xx")).collect();
    assert_eq!(long.iter().map(|line| text(line).len()).sum::<usize>(), 10_000_000);
    assert!(long.iter().rev().skip(1).all(|line| line["partial"] == true), "each piece but the last goes on");
    assert_eq!(long.last().unwrap()["partial"], false);
    let (_, raw) = fleet.text(&format!("/api/v1/commands/{id}/log?raw=1"));
    assert!(raw.lines().any(|line| line.len() == 10_000_000), "one line again in plain text");
    let seen: usize = tab.text(&id).iter().filter(|line| line.starts_with("xx")).map(|line| line.len()).sum();
    assert_eq!(seen, 10_000_000);
    assert_eq!(tab.text(&id).last(), Some(&"after"));
    memory.grew_less_than(96);
}

#[test]
fn binary_junk_and_every_escape_become_text_that_harms_nobody() {
    // Every byte, every kind of escape sequence, some of them never ended, and what looks like markup.
    let fleet = switch(
        "i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %o $i)\"; i=$((i+1)); done; echo
         head -c 200000 /dev/urandom; echo
         printf '\\033[31mred\\033[0m plain\\n\\033[2J\\033[1;1Hclear\\n\\033]0;title\\007osc\\n\\033]8;;http://x\\033\\\\link\\n'
         printf '\\033Pdcs\\033\\\\after dcs\\n\\033(Bcharset\\n\\033[?25lcursor\\n\\033[38;5;196mcolour\\033[m\\n\\2332Jc1\\n'
         printf 'progress 1\\rprogress 2\\rprogress 3\\n\\033[never\\n\\033]never\\n<script>alert(1)</script>\\n'
         echo the end",
    );
    let mut tab = Tab::open(&fleet);
    let id = fleet.submit("hsb0", "switch");
    tab.follow(&id, 0);
    tab.follow_to_the_end(&id);
    assert_eq!(fleet.ended(&id)["state"], "SUCCESS");
    let all = ndjson(&fleet, &id, 0);
    joined(&all);
    let printed: Vec<&str> = all.iter().filter(|line| line["stream"] != "note").map(text).collect();
    assert!(tab.text(&id) == printed, "the tab has the same");
    for line in &printed {
        let rest = line.split("\u{1b}[").enumerate().map(|(at, part)| {
            // A colour is all that may begin here.
            if at == 0 {
                part
            } else {
                part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == ':')
                    .strip_prefix('m')
                    .unwrap_or("\u{1b}")
            }
        });
        for part in rest {
            assert!(!part.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
        }
    }
    for wanted in ["\u{1b}[31mred\u{1b}[0m plain", "<script>alert(1)</script>", "the end"] {
        assert!(
            printed.iter().any(|line| line.trim_end() == wanted),
            "{wanted:?} in {:?}",
            &printed[printed.len() - 20..]
        );
    }
    let page = crate::security::Browser::log_in(&fleet).page(&format!("/commands/{id}"));
    assert!(!page.contains("<script>alert"), "the page shows it and does not run it");
}
