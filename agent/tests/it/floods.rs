//! Too much, too fast, too large, too late: from the command's side and from the dashboard's.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use nixfleet_protocol::agent::{DashboardMessage, OutputAck, Stream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::dashboard::Link;
use crate::world::{AgentProcess, LONG, World, new_id, until};

/// The most that an agent or a runner may grow in a flood, KiB: whoever keeps what passes by grows by more.
const GROWTH: u64 = 40 * 1024;

async fn deployed(switch: &str) -> (World, AgentProcess, Link) {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", switch)]);
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0));
    (world, agent, link)
}

/// A figure from a process's status, KiB; nothing when it is gone.
fn figure(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

#[tokio::test]
async fn hundreds_of_thousands_of_lines_arrive_and_memory_stays_flat() {
    // A million by hand: NIXFLEET_TEST_LINES=1000000.
    let lines: usize = std::env::var("NIXFLEET_TEST_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let (mut world, agent, mut link) =
        deployed(&format!("#!/bin/sh\nseq 1 {lines}\necho \"peak $(grep VmHWM /proc/$PPID/status)\" >&2\n")).await;
    let rest = agent.resident();
    let begun = Instant::now();
    let id = world.dashboard.run(&mut link, "switch").await;
    let took = begun.elapsed();
    let kept = world.dashboard.of(id);
    let mut arrived = kept.lines();
    let peak = arrived.pop().unwrap();
    assert_eq!(arrived.len(), lines);
    assert!(arrived.iter().zip(1..).all(|(line, n)| *line == n.to_string()));
    // The runner is the parent of the switch.
    let runner: u64 = peak.split_whitespace().nth(2).unwrap().parse().unwrap();
    let most = figure(agent.pid(), "VmHWM").unwrap();
    eprintln!("{lines} lines in {took:?}; agent {rest} KiB at rest, {most} at most; runner {runner} at most");
    assert!(most < rest + GROWTH && runner < GROWTH, "agent {rest} → {most}, runner {runner}");
}

#[tokio::test]
async fn a_log_beyond_its_bound_arrives_with_a_mark_where_it_was_cut() {
    let (mut world, agent, mut link) =
        deployed("#!/bin/sh\nyes \"$(head -c 2000 /dev/zero | tr '\\0' x)\" | head -n 60000 | cat -n\n").await;
    let rest = agent.resident();
    // The dashboard takes a megabyte and then nothing, until the command is over.
    world.dashboard.acks_output = false;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    let result = world.folder(id).join("result.json");
    world.dashboard.until(&mut link, "the end on the host", |_| result.exists()).await;
    world.dashboard.acks_output = true;
    let ack = OutputAck { command_id: id, offset: world.dashboard.of(id).end };
    world.dashboard.send(&mut link, DashboardMessage::OutputAck(ack)).await;
    world.dashboard.until_ended(&mut link, id).await;
    let kept = world.dashboard.of(id);
    let marks: Vec<&str> =
        kept.output.iter().filter(|output| output.stream == Stream::Mark).map(|output| output.line.as_str()).collect();
    assert!(marks.len() == 1 && marks[0].contains("bytes were cut here"), "{marks:?}");
    let numbers: Vec<u32> =
        kept.lines().iter().map(|line| line.trim().split('\t').next().unwrap().parse().unwrap()).collect();
    assert_eq!((numbers[0], *numbers.last().unwrap()), (1, 60_000));
    assert!(numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() == 1, "one gap, at the mark");
    assert!(numbers.len() > 25_000);
    let most = figure(agent.pid(), "VmHWM").unwrap();
    eprintln!(
        "{} MB printed, {} lines kept; agent {rest} KiB at rest, {most} at most",
        kept.end / 1_000_000,
        numbers.len()
    );
    assert!(most < rest + GROWTH, "{rest} → {most}");
}

#[tokio::test]
async fn escapes_of_all_kinds_carriage_returns_and_a_line_without_an_end_become_text() {
    let script = "#!/bin/sh
printf '\\033[1;38;5;196mbold\\033[0m\\n'
printf '\\033]0;title\\007after a title\\n'
printf '\\033]8;;http://x\\033\\\\link\\033]8;;\\033\\\\\\n'
printf '\\033P1$r0m\\033\\\\dcs\\n'
printf '\\033[?1049h\\033[2J\\033[Hcleared\\n'
printf '10%%\\r50%%\\r100%%\\n'
printf 'bell\\007 back\\010space nul\\000\\n'
printf '\\303\\050 bad utf\\n'
printf '\\033[31mopen colour\\n'
printf 'no end' >&2
printf 'last without an end'
";
    let (mut world, _agent, mut link) = deployed(script).await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(id);
    let out: Vec<&str> =
        kept.output.iter().filter(|line| line.stream == Stream::Stdout).map(|line| line.line.as_str()).collect();
    assert_eq!(
        out,
        [
            "\u{1b}[1;38;5;196mbold\u{1b}[0m",
            "after a title",
            "link",
            "dcs",
            "cleared",
            "10%",
            "50%",
            "100%",
            "bell backspace nul",
            "\u{fffd}( bad utf",
            "\u{1b}[31mopen colour",
            "last without an end"
        ]
    );
    assert!(kept.output.iter().any(|line| line.stream == Stream::Stderr && line.line == "no end"));
    assert_eq!(kept.result().exit_code, Some(0));
}

#[tokio::test]
async fn a_message_over_the_limit_closes_the_link_with_1009_and_the_agent_goes_on() {
    let (mut world, _agent, mut link) = deployed("#!/bin/sh\necho fine\n").await;
    let large = format!("{{\"type\":\"dance\",\"payload\":\"{}\"}}", "x".repeat(600 * 1024));
    // The agent may leave before it has taken all of it.
    let _ = link.socket.send(Message::text(large)).await;
    let closed = world.dashboard.until_closed(&mut link).await;
    assert_eq!(closed.expect("no close frame").code, CloseCode::Size);
    let mut link = world.dashboard.registered().await;
    let id = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(id).lines(), ["fine"]);
}

#[tokio::test]
async fn junk_by_the_thousand_holds_up_neither_heartbeats_nor_commands() {
    let (mut world, agent, mut link) = deployed("#!/bin/sh\necho fine\n").await;
    let rest = agent.resident();
    for n in 0..20_000 {
        let text = match n % 4 {
            0 => "{".to_owned(),
            1 => format!("{{\"type\":\"unknown-{n}\",\"payload\":{{}}}}"),
            2 => "{\"type\":\"command\",\"payload\":{\"command\":7}}".to_owned(),
            _ => "\u{0}\u{1}{}[]".to_owned(),
        };
        link.socket.feed(Message::text(text)).await.unwrap();
    }
    link.socket.flush().await.unwrap();
    let id = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(id).lines(), ["fine"]);
    let most = figure(agent.pid(), "VmHWM").unwrap();
    eprintln!("20,000 frames of junk: agent {rest} KiB at rest, {most} at most");
    assert!(most < rest + GROWTH);
}

#[tokio::test]
async fn a_dashboard_that_sends_and_does_not_read_is_left_and_costs_no_memory() {
    let (mut world, agent, mut link) = deployed("#!/bin/sh\necho fine\n").await;
    let rest = agent.resident();
    // Each of these is answered with a refusal that nobody reads.
    let ask = Message::text(
        "{\"type\":\"command\",\"payload\":{\"command\":\"dance\",\"command_id\":\"0190b6a8-0000-7000-8000-000000000000\"}}",
    );
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        match tokio::time::timeout(Duration::from_secs(2), link.socket.feed(ask.clone())).await {
            Ok(Ok(())) => {}
            // It stands still for want of reading, or it is over.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let most = figure(agent.pid(), "VmHWM").unwrap();
    eprintln!("a dashboard that does not read: agent {rest} KiB at rest, {most} at most");
    assert!(most < rest + GROWTH, "{rest} → {most}");
    let log = world.path("agent.log");
    let left = || fs::read_to_string(&log).unwrap_or_default().contains("does not read what it is sent");
    if !left() {
        drop(link);
    }
    let mut link = world.dashboard.registered().await;
    let id = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(id).lines(), ["fine"]);
}

#[tokio::test]
async fn heartbeats_that_nobody_reads_do_not_pile_up() {
    let (mut world, agent, mut link) = deployed("#!/bin/sh\nseq 1 200000\n").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    let result = world.folder(id).join("result.json");
    // Nothing is read: output and heartbeats wait in the agent's outbox, which is bounded.
    until("the end on the host", || result.exists()).await;
    let before = agent.resident();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(agent.resident() < before + 1024, "{before} KiB, then {}", agent.resident());
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).lines().len(), 200_000);
}

#[tokio::test]
async fn more_results_than_a_register_names_all_arrive() {
    let mut world = World::new().await;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let done = world.dashboard.run(&mut link, "refresh-lock").await;
    let folder = world.folder(done);
    until("the acknowledgement is written", || folder.join("acknowledged").exists()).await;
    agent.kill();
    drop(link);
    // As if the dashboard had been away for many commands.
    let ids: Vec<_> = (0..130).map(|_| new_id()).collect();
    for id in &ids {
        fs::create_dir(world.folder(*id)).unwrap();
        fs::copy(folder.join("started"), world.folder(*id).join("started")).unwrap();
        // 20 KiB of output each: of all together more than may be in flight.
        let record = format!("1 o {}\n", "x".repeat(1019));
        fs::write(world.folder(*id).join("output.log"), record.repeat(20)).unwrap();
        let mut result: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap();
        result["output_end"] = (20 * record.len()).into();
        fs::write(world.folder(*id).join("result.json"), result.to_string()).unwrap();
        let order = fs::read_to_string(folder.join("command.json")).unwrap();
        fs::write(world.folder(*id).join("command.json"), order.replace(&done.to_string(), &id.to_string())).unwrap();
    }
    let _agent = world.start();
    // Named are the newest, and told is what was named; what is left is named by the next register.
    for named in [100, 30] {
        let mut link = world.dashboard.registered().await;
        let results = link.register.results.clone();
        assert_eq!(results.len(), named);
        assert_eq!(results.contains(ids.iter().max().unwrap()), named == 100, "the newest are named first");
        world
            .dashboard
            .until(&mut link, "the results that were named", |dashboard| {
                results.iter().all(|id| dashboard.kept.get(id).is_some_and(|kept| kept.status.is_some()))
            })
            .await;
        let told = ids.iter().filter(|id| world.dashboard.kept.contains_key(id)).count();
        assert_eq!(told, if named == 100 { 100 } else { 130 }, "nothing comes of what was not named");
        if named == 100 {
            let close = world.dashboard.until_closed(&mut link).await.expect("no close frame");
            assert_eq!(close.reason.as_str(), "more results");
        }
    }
    until("all are acknowledged", || ids.iter().all(|id| world.folder(*id).join("acknowledged").exists())).await;
    assert!(ids.iter().all(|id| world.dashboard.of(*id).statuses == 1), "each of them once");
}

#[tokio::test]
async fn many_commands_and_heartbeats_do_not_make_the_agent_grow() {
    // The long run, by hand: NIXFLEET_TEST_COMMANDS=10000.
    let commands: usize = std::env::var("NIXFLEET_TEST_COMMANDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut world = World::new().await;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    for _ in 0..20 {
        world.dashboard.run(&mut link, "refresh-lock").await;
    }
    let warm = agent.resident();
    for n in 1..=commands {
        let id = world.dashboard.run(&mut link, "refresh-lock").await;
        world.dashboard.kept.remove(&id);
        if n % 1000 == 0 {
            eprintln!("{n} commands: {} KiB", agent.resident());
        }
    }
    let beats = world.dashboard.heartbeats.len();
    eprintln!("agent {warm} KiB warm, {} after {commands} commands and {beats} heartbeats", agent.resident());
    assert!(agent.resident() < warm + 4 * 1024, "{warm} → {}", agent.resident());
    let _ = link.socket.close(None).await;
    while link.socket.next().await.is_some_and(|frame| frame.is_ok()) {}
}
