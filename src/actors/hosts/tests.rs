//! The hosts and a host's actor over a store that tests can slow down and break, with links that are channels, in
//! paused time.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else is a failure")]

mod auto_tests;
mod bench;
mod fuzz;
mod life;

use std::time::Duration;

use nixfleet_protocol::agent::{Accepted, AgentMessage, DashboardMessage, Heartbeat, Output, Status};
use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{CommandId, Op};

use self::bench::{Bench, status, wish};
use super::*;
use crate::actors::host::log;

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_host_registers_and_is_there_when_it_is_told() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    let DashboardMessage::Registered(registered) = link.next().await else { panic!("not registered first") };
    assert_eq!((registered.host_id.as_str(), registered.protocol), ("hsb0", Some(3)));
    assert!(bench.world().hosts.contains_key(&host("hsb0")), "on disk before it is told");
    assert!(bench.seen(&host("hsb0")).is_some(), "and in the state that everyone sees");
}

#[tokio::test(start_paused = true)]
async fn a_command_is_on_disk_before_its_frame_leaves() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    bench.world_mut().delay = Duration::from_secs(2);
    let handle = bench.handle.clone();
    let asked = tokio::spawn(async move { handle.submit(host("hsb0"), wish(Op::Test)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(link.try_next().is_none(), "nothing leaves while the disk works");
    assert!(bench.world().commands.is_empty());
    let DashboardMessage::Command(command) = link.next().await else { panic!("no command") };
    let id = command.command_id.unwrap();
    assert_eq!(bench.world().commands[&id].state, CommandState::Executing);
    assert!(matches!(asked.await.unwrap(), Submitted::Accepted(accepted) if accepted.id == id));
}

#[tokio::test(start_paused = true)]
async fn from_submit_to_acknowledged_result() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("hsb0"), wish(Op::Test)).await else { panic!() };
    let id = command.id;
    assert!(matches!(link.next().await, DashboardMessage::Command(_)));
    link.say(AgentMessage::Accepted(Accepted { command_id: id })).await;
    let mut follow = bench.handle.follow_log(host("hsb0"), id).await.unwrap().unwrap();
    let end = link.print(id, 0, &["one", "two"]).await;
    link.say(status(id, "test", 0, end)).await;
    let mut acked = 0;
    loop {
        match link.next().await {
            DashboardMessage::OutputAck(ack) => {
                let path = log::log_path(bench.data_dir(), &host("hsb0"), id);
                assert!(std::fs::metadata(path).unwrap().len() >= ack.offset, "acknowledged when it is on disk");
                acked = ack.offset;
            }
            DashboardMessage::StatusAck(ack) => {
                assert_eq!(ack.command_id, id);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acked, end);
    let stored = bench.world().commands[&id].clone();
    assert_eq!((stored.state, stored.log_bytes), (CommandState::Success, end));
    assert!(bench.world().events.iter().any(|event| event == "command_finished"));
    while !follow.borrow_and_update().over {
        follow.changed().await.unwrap();
    }
    let read = log::read(&log::log_path(bench.data_dir(), &host("hsb0"), id), 0, 1000).unwrap();
    assert_eq!(read.lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(bench.seen(&host("hsb0")).unwrap().command, None);
}

#[tokio::test(start_paused = true)]
async fn facts_wait_for_a_commit_under_way() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    bench.world_mut().delay = Duration::from_secs(2);
    let handle = bench.handle.clone();
    let asked = tokio::spawn(async move { handle.submit(host("hsb0"), wish(Op::Test)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    link.say(AgentMessage::Heartbeat(Box::new(Heartbeat { tests: Some(7), ..Heartbeat::default() }))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = bench.seen(&host("hsb0")).unwrap();
    assert_eq!(seen.command, None, "what is not on disk is not seen, by no way");
    asked.await.unwrap();
    assert!(bench.seen(&host("hsb0")).unwrap().command.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_person_is_told_when_the_disk_hangs_and_nothing_is_done_later() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    bench.world_mut().failing = true;
    let handle = bench.handle.clone();
    let first = tokio::spawn(async move { handle.submit(host("hsb0"), wish(Op::Test)).await });
    tokio::time::sleep(Duration::from_secs(4)).await;
    let second = bench.handle.submit(host("hsb0"), wish(Op::Switch)).await;
    assert!(matches!(second, Submitted::Unavailable(_)), "{second:?}");
    assert!(link.try_next().is_none());
    bench.world_mut().failing = false;
    assert!(matches!(first.await.unwrap(), Submitted::Accepted(_)), "it goes on when there is room");
    let DashboardMessage::Command(command) = link.next().await else { panic!() };
    assert_eq!(command.command, "test");
    assert!(link.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_answered_with_not_now_does_not_begin_when_the_disk_has_room_again() {
    for comes_anew in [false, true] {
        let bench = Bench::new().await;
        let mut link = bench.link("hsb0", 3).await;
        link.next().await;
        bench.world_mut().failing = true;
        let Submitted::Late { id, why } = bench.handle.submit(host("hsb0"), wish(Op::Switch)).await else { panic!() };
        assert!(why.contains("start it again"), "{why}");
        if comes_anew {
            link = bench.link("hsb0", 3).await;
        }
        bench.world_mut().failing = false;
        tokio::time::sleep(Duration::from_secs(15)).await;
        while let Some(frame) = link.try_next() {
            assert!(!format!("{frame:?}").contains("Command("), "{frame:?}");
        }
        let stored = bench.world().commands[&id].clone();
        assert_eq!((stored.state, stored.code.as_deref()), (CommandState::Blocked, Some("not_started")));
        assert_eq!(bench.seen(&host("hsb0")).unwrap().command, None, "and the host is free");
        assert!(matches!(bench.handle.submit(host("hsb0"), wish(Op::Switch)).await, Submitted::Accepted(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_can_not_be_read_is_put_aside_and_its_host_registers() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("hsb0"), wish(Op::Test)).await else { panic!() };
    let path = log::log_path(bench.data_dir(), &host("hsb0"), command.id);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(log::sealed::sealed_path(&path), "junk").unwrap();
    let mut link = bench.link_with("hsb0", 3, |register| register.results = vec![command.id]).await;
    let DashboardMessage::Registered(registered) = link.next().await else { panic!() };
    assert_eq!(registered.offsets.get(&command.id), Some(&0), "the agent sends all of it again");
    let end = link.print(command.id, 0, &["one"]).await;
    link.say(status(command.id, "test", 0, end)).await;
    while !matches!(link.next().await, DashboardMessage::StatusAck(_)) {}
    assert!(log::damaged_path(&log::sealed::sealed_path(&path)).exists(), "for who wants to look into it");
    assert!(bench.world().events.iter().any(|event| event == "log_damaged"), "{:?}", bench.world().events);
    assert_eq!(log::read(&path, 0, 1000).unwrap().lines.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_says_nothing_keeps_no_host_out() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("hsb0"), wish(Op::Test)).await else { panic!() };
    // Somebody holds its lock for good, as a disk that hangs holds whoever opens it.
    let path = log::log_path(bench.data_dir(), &host("hsb0"), command.id);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let held = std::fs::File::create(&path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut link = bench.link_with("hsb0", 3, |register| register.running = vec![command.id]).await;
    let DashboardMessage::Registered(registered) = link.next().await else { panic!() };
    assert_eq!(registered.offsets.get(&command.id), None);
}

#[tokio::test(start_paused = true)]
async fn results_that_the_register_had_no_room_for_arrive_with_their_output() {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    // Of another host, and of nobody: the one is not taken, the others are.
    let Submitted::Accepted(ours) = bench.handle.submit(host("hsb0"), wish(Op::Test)).await else { panic!() };
    assert!(matches!(link.next().await, DashboardMessage::Command(_)));
    let mut other = bench.link("other", 3).await;
    other.next().await;
    other.print(ours.id, 0, &["a lie"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let end = other.print(ours.id, 0, &["a lie"; 500]).await;
    other.say(status(ours.id, "test", 0, end)).await;
    for _ in 0..130 {
        let id = CommandId::from_uuid(uuid::Uuid::now_v7());
        let end = link.print(id, 0, &["one", "two"]).await;
        link.say(status(id, "pull", 0, end)).await;
        loop {
            match link.next().await {
                DashboardMessage::OutputAck(ack) => assert_eq!(ack.command_id, id),
                DashboardMessage::StatusAck(ack) => break assert_eq!(ack.command_id, id),
                message => panic!("{message:?}"),
            }
        }
        let lines = log::read(&log::log_path(bench.data_dir(), &host("hsb0"), id), 0, 1000).unwrap().lines;
        assert_eq!(lines.len(), 2);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(other.try_next().is_none(), "nothing that an agent says acts on another host");
    assert!(!log::log_path(bench.data_dir(), &host("other"), ours.id).exists());
    assert_eq!(bench.world().commands[&ours.id].state, CommandState::Executing);
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_comes_back_from_the_store_and_its_neighbours_do_not_notice() {
    let bench = Bench::new().await;
    let mut one = bench.link("one", 3).await;
    let mut two = bench.link("two", 3).await;
    one.next().await;
    two.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("one"), wish(Op::Test)).await else { panic!() };
    one.actor.kill();
    let closed = one.closed().await;
    assert_eq!(closed, close::RESTART, "its agent is sent away to come back");
    let answer = bench.handle.submit(host("two"), wish(Op::Test)).await;
    assert!(matches!(answer, Submitted::Accepted(_)), "the neighbour goes on: {answer:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = bench.seen(&host("one")).unwrap().command.clone().unwrap();
    assert_eq!((seen.id, seen.state), (command.id, CommandState::AwaitingReconnect));
    let mut back = bench.link_with("one", 3, |register| register.running = vec![command.id]).await;
    let DashboardMessage::Registered(registered) = back.next().await else { panic!() };
    assert_eq!(registered.offsets.get(&command.id), Some(&0));
    let health = bench.handle.health().await.unwrap();
    assert_eq!((health.hosts, health.silent.len(), health.quarantined.len()), (2, 0, 0));
}

/// A command whose record was on its way to the disk when its host's actor died.
async fn dies_with_a_commit_under_way(heal: impl AsyncFn(&Bench)) {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    let handle = bench.handle.clone();
    bench.world_mut().delay = Duration::from_secs(2);
    let asked = tokio::spawn(async move { handle.submit(host("one"), wish(Op::Test)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    link.actor.kill();
    heal(&bench).await;
    assert!(matches!(asked.await.unwrap(), Submitted::Unavailable(_)), "who asked is told that it is not known");
    tokio::time::sleep(Duration::from_secs(30)).await;
    // It reached the disk or not: the actor has the same command that the disk has.
    let actors = bench.handle.inspect_all().await.unwrap();
    let open: Vec<_> = bench.world().commands.values().filter(|it| !it.state.is_final()).map(|it| it.id).collect();
    let owned = actors["one"]["open"].get(0).map(|id| id.as_str().unwrap().to_owned());
    let open = open.first().map(ToString::to_string);
    assert_eq!(open, owned, "nobody owns what only the disk knows");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_outlives_its_actor_is_read_by_the_next() {
    dies_with_a_commit_under_way(async |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_disk_refuses_dies_with_its_actor() {
    dies_with_a_commit_under_way(async |bench| {
        bench.world_mut().failing = true;
        tokio::time::sleep(Duration::from_secs(10)).await;
        bench.world_mut().failing = false;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_keeps_dying_is_quarantined_shown_as_broken_and_tried_again() {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    bench.link("two", 3).await.next().await;
    let mut quarantined = false;
    for _ in 0..50 {
        bench.kill("one").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if bench.handle.health().await.unwrap().quarantined.iter().any(|(broken, _)| *broken == host("one")) {
            quarantined = true;
            break;
        }
    }
    assert!(quarantined);
    assert!(bench.seen(&host("one")).unwrap().broken.is_some());
    assert!(matches!(bench.handle.submit(host("one"), wish(Op::Test)).await, Submitted::Unavailable(_)));
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(bench.handle.health().await.unwrap().quarantined, []);
    assert_eq!(bench.seen(&host("one")).unwrap().broken, None);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_all_begins_from_the_records() {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("one"), wish(Op::Switch)).await else { panic!() };
    let bench = bench.restart().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = bench.seen(&host("one")).unwrap().command.clone().unwrap();
    assert_eq!((seen.id, seen.state), (command.id, CommandState::AwaitingReconnect));
    // It never reached the agent: the same id goes out again.
    let mut link = bench.link("one", 3).await;
    assert!(matches!(link.next().await, DashboardMessage::Registered(_)));
    let DashboardMessage::Command(again) = link.next().await else { panic!() };
    assert_eq!(again.command_id, Some(command.id));
}

#[tokio::test(start_paused = true)]
async fn a_removed_host_is_gone_and_can_come_anew() {
    let bench = Bench::new().await;
    assert_eq!(bench.handle.create(host("one"), "user".into()).await.unwrap(), Created::Made);
    assert_eq!(bench.handle.create(host("one"), "user".into()).await.unwrap(), Created::Existed);
    let removed = bench.handle.submit(host("one"), wish(Op::Remove)).await;
    assert!(matches!(removed, Submitted::Accepted(_)), "{removed:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(bench.handle.submit(host("one"), wish(Op::Test)).await, Submitted::NoSuchHost));
    assert!(bench.world().hosts.is_empty() && bench.seen(&host("one")).is_none());
    bench.link("one", 3).await.next().await;
    assert!(bench.seen(&host("one")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_old_agent_gets_words_it_knows() {
    let bench = Bench::new().await;
    let mut link = bench.link("old", 2).await;
    let DashboardMessage::Registered(registered) = link.next().await else { panic!() };
    assert_eq!((registered.protocol, registered.server_version), (None, None));
    let Submitted::Accepted(command) = bench.handle.submit(host("old"), wish(Op::Test)).await else { panic!() };
    let DashboardMessage::Command(order) = link.next().await else { panic!() };
    assert_eq!((order.command.as_str(), order.command_id), ("test", None));
    link.say(AgentMessage::Output(Output { line: "fine".into(), ..Output::default() })).await;
    let status = Status { command: "test".into(), exit_code: Some(0), status: "ok".into(), ..Status::default() };
    link.say(AgentMessage::Status(Box::new(status))).await;
    let over = async {
        while bench.world().commands[&command.id].state != CommandState::Success {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), over).await.unwrap();
    assert!(bench.world().commands[&command.id].log_bytes > 0);
    assert!(link.try_next().is_none(), "an old agent knows no acknowledgements");
}

#[tokio::test]
async fn twenty_thousand_lines_take_no_time() {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    let Submitted::Accepted(command) = bench.handle.submit(host("one"), wish(Op::Test)).await else { panic!() };
    link.next().await;
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n} of a build that prints a lot")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let began = std::time::Instant::now();
    let end = link.print(command.id, 0, &lines).await;
    loop {
        match link.next().await {
            DashboardMessage::OutputAck(ack) if ack.offset == end => break,
            DashboardMessage::OutputAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
    println!("20,000 lines in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_a_store_that_can_not_be_read() {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    bench.world_mut().failing = true;
    let id = CommandId::from_uuid(uuid::Uuid::now_v7());
    link.say(status(id, "test", 0, 0)).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(link.try_next().is_none(), "nothing is acknowledged that is not on disk");
    bench.world_mut().failing = false;
    let DashboardMessage::StatusAck(ack) = link.next().await else { panic!("no acknowledgement") };
    assert_eq!(ack.command_id, id);
    assert!(bench.world().commands[&id].state.is_final(), "adopted, and on disk");
}

#[tokio::test(start_paused = true)]
async fn when_the_hosts_actor_dies_agents_are_sent_away_at_once() {
    let bench = Bench::new().await;
    let mut link = bench.link("one", 3).await;
    link.next().await;
    let restarted = bench.restart().await;
    assert_eq!(link.closed().await, close::RESTART);
    drop(restarted);
}
