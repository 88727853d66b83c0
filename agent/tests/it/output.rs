//! Every line arrives, whatever commands print, and a stop leaves nothing behind.

use std::fs;
use std::time::{Duration, Instant};

use crate::world::{World, new_id, processes_with, until};

async fn deployed(switch: &str) -> (World, crate::world::AgentProcess, crate::dashboard::Link) {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", switch)]);
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0));
    (world, agent, link)
}

#[tokio::test]
async fn twenty_thousand_lines_at_once_arrive_in_order() {
    let (mut world, _agent, mut link) = deployed("#!/bin/sh\nseq 1 20000\n").await;
    let begun = Instant::now();
    let id = world.dashboard.run(&mut link, "switch").await;
    let whole = begun.elapsed();
    let result = world.dashboard.of(id).result();
    let runner = result.finished_at.unwrap().since(result.started_at.unwrap());
    eprintln!("20,000 lines in {whole:?}, of which the runner took {runner:?}");
    let lines = world.dashboard.of(id).lines();
    assert_eq!(lines.len(), 20_000);
    assert!(lines.iter().zip(1..).all(|(line, n)| *line == n.to_string()));
}

#[tokio::test]
async fn memory_does_not_grow_with_what_is_printed() {
    let (mut world, agent, mut link) = deployed("#!/bin/sh\nseq 1 20000\n").await;
    let rest = agent.resident();
    world.dashboard.run(&mut link, "switch").await;
    let once = agent.resident();
    for _ in 0..5 {
        world.dashboard.run(&mut link, "switch").await;
    }
    let often = agent.resident();
    eprintln!("resident: {rest} KiB at rest, {once} after 20,000 lines, {often} after 120,000");
    assert!(often < once + 1024, "{once} KiB, then {often} KiB");
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_cut_and_arrives_whole() {
    let (mut world, _agent, mut link) =
        deployed("#!/bin/sh\nhead -c 10000000 /dev/zero | tr '\\0' x\necho\necho after\n").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(id);
    let lines = kept.lines();
    assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, 10_000_000, "after"));
    assert!(kept.output.iter().all(|output| output.line.len() <= 64 * 1024));
}

#[tokio::test]
async fn binary_junk_becomes_text() {
    let (mut world, _agent, mut link) =
        deployed("#!/bin/sh\nhead -c 300000 /dev/urandom\nprintf '\\n\\033[31mred\\033[0m \\033[2Jplain\\n'\n").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(id);
    assert_eq!(kept.result().exit_code, Some(0));
    assert_eq!(kept.lines().last().unwrap(), "\u{1b}[31mred\u{1b}[0m plain");
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t' && c != '\u{1b}');
    assert!(kept.output.iter().all(|output| clean(&output.line)));
}

#[tokio::test]
async fn a_process_that_a_command_leaves_behind_does_not_hold_it_up() {
    let (mut world, _agent, mut link) = deployed("#!/bin/sh\nsleep 1000 &\necho left it\n").await;
    let begun = Instant::now();
    let id = world.dashboard.run(&mut link, "switch").await;
    assert!(begun.elapsed() < Duration::from_secs(30));
    let kept = world.dashboard.of(id);
    assert_eq!((kept.result().exit_code, kept.lines()), (Some(0), vec!["left it".to_owned()]));
    assert!(kept.text().contains("left running"));
    // It was left on purpose, so it lives.
    assert_eq!(processes_with(&format!("NIXFLEET_COMMAND_ID={id}")).len(), 1);
}

#[tokio::test]
async fn a_stop_leaves_no_process_even_of_those_that_ignore_it() {
    let script = "#!/bin/sh
sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 0.1; done' &
setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' &
trap 'exit 0' TERM
echo ready
wait
wait
";
    let (mut world, _agent, mut link) = deployed(script).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "deaf").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    world.dashboard.stop(&mut link, new_id()).await;
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(130), Some("stopped")));
    assert_eq!(result.status, "stopped");
    assert_eq!(processes_with(&format!("NIXFLEET_COMMAND_ID={id}")), Vec::<i32>::new());
    assert!(result.deployed.is_none());
}

#[tokio::test]
async fn a_stop_that_was_asked_for_before_a_crash_still_holds() {
    let (mut world, agent, mut link) = deployed("#!/bin/sh\necho ready\nsleep 1000\n").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    world.dashboard.stop(&mut link, id).await;
    let stop = world.folder(id).join("stop");
    until("the wish to stop", || stop.exists()).await;
    agent.kill();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(130));
}

#[tokio::test]
async fn output_goes_on_where_the_link_was_cut() {
    let (mut world, _agent, mut link) =
        deployed("#!/bin/sh\nseq 1 5000\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\nseq 5001 6000\n").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "2500").await;
    drop(link);
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.running, [id]);
    world.dashboard.until_line(&mut link, id, "\n5000\n").await;
    drop(link);
    fs::write(world.path("go"), "").unwrap();
    let mut link = world.dashboard.registered().await;
    world.dashboard.until_ended(&mut link, id).await;
    let lines = world.dashboard.of(id).lines();
    assert!(lines.iter().zip(1..).all(|(line, n)| *line == n.to_string()));
    assert_eq!(lines.len(), 6000);
}

#[tokio::test]
async fn no_more_than_a_mebibyte_waits_for_its_acknowledgement() {
    let (mut world, _agent, mut link) =
        deployed("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000\n").await;
    world.dashboard.acks_output = false;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world
        .dashboard
        .until(&mut link, "a mebibyte", |dashboard| dashboard.kept.get(&id).is_some_and(|kept| kept.end > 1 << 20))
        .await;
    world.dashboard.listen_for(&mut link, Duration::from_millis(500)).await;
    let end = world.dashboard.of(id).end;
    assert!(end < (1 << 20) + 70_000, "{end} bytes came");
    assert!(world.dashboard.of(id).status.is_none());
    world.dashboard.acks_output = true;
    let ack = nixfleet_protocol::agent::OutputAck { command_id: id, offset: end };
    world.dashboard.send(&mut link, nixfleet_protocol::agent::DashboardMessage::OutputAck(ack)).await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).lines().len(), 3000);
}

#[tokio::test]
async fn heartbeats_go_on_while_a_command_runs() {
    let (mut world, _agent, mut link) = deployed("#!/bin/sh\necho ready\nsleep 1000\n").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "two heartbeats", |dashboard| dashboard.heartbeats.len() >= 2).await;
    let beat = &world.dashboard.heartbeats[1];
    assert_eq!(beat.running.as_deref(), Some(&[id][..]));
    assert_eq!(beat.pending_command.as_deref(), Some("switch"));
    assert!(beat.command_pid.is_some());
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_ended(&mut link, id).await;
}

#[tokio::test]
async fn commands_see_what_they_need_and_never_the_token() {
    let (mut world, _agent, mut link) = deployed("#!/bin/sh\nenv\npwd\nps -o pgid= $$ 2>/dev/null\n").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(id);
    let text = kept.lines().join("\n");
    assert!(text.contains("NIXFLEET_HOST=h1") && text.contains("NIXFLEET_OP=switch"), "{text}");
    let commit = kept.result().generation.as_ref().unwrap().to_string();
    assert!(text.contains(&format!("NIXFLEET_COMMIT={commit}")));
    assert!(text.contains(&world.checkout().display().to_string()));
    assert!(!text.contains("a-token-for-tests") && !text.contains("NIXFLEET_TOKEN"));
    let order = fs::read_to_string(world.folder(id).join("command.json")).unwrap();
    assert!(!order.contains("a-token-for-tests"));
    let log = fs::read_to_string(world.path("agent.log")).unwrap();
    assert!(!log.contains("a-token-for-tests"));
}
