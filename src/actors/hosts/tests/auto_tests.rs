//! Tests that run by themselves after a switch, over the whole host actor, in paused time.

use nixfleet_model::host_core::auto_test::{ACTOR, IDLE_FOR};
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Heartbeat};
use nixfleet_protocol::{CommandId, Op};

use super::bench::{Bench, TestLink, status, wish};
use super::*;

/// A linked host with two tests.
async fn host_with_tests(bench: &Bench) -> TestLink {
    let mut link = bench.link("hsb0", 3).await;
    assert!(matches!(link.next().await, DashboardMessage::Registered(_)));
    link.say(beat()).await;
    link
}

fn beat() -> AgentMessage {
    AgentMessage::Heartbeat(Box::new(Heartbeat { tests: Some(2), ..Heartbeat::default() }))
}

async fn next_command(link: &mut TestLink) -> (CommandId, String) {
    loop {
        if let DashboardMessage::Command(command) = link.next().await {
            return (command.command_id.unwrap(), command.command);
        }
    }
}

/// A good switch.
async fn switch(bench: &Bench, link: &mut TestLink) {
    let submitted = bench.handle.submit(host("hsb0"), wish(Op::Switch)).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    let (id, _) = next_command(link).await;
    link.say(status(id, "switch", 0, 0)).await;
    assert!(matches!(link.next().await, DashboardMessage::StatusAck(_)));
}

#[tokio::test(start_paused = true)]
async fn they_begin_five_seconds_after_the_switch_as_any_command_does() {
    let bench = Bench::new().await;
    let mut link = host_with_tests(&bench).await;
    switch(&bench, &mut link).await;
    let switched = tokio::time::Instant::now();
    let (id, op) = next_command(&mut link).await;
    assert_eq!(op, "test");
    assert!(switched.elapsed() >= IDLE_FOR.checked_sub(Duration::from_millis(100)).unwrap());
    let command = bench.world().commands[&id].clone();
    assert_eq!((command.op, command.actor.as_str()), (Op::Test, ACTOR), "on disk before it is sent");
    assert_eq!(bench.seen(&host("hsb0")).unwrap().command.as_ref().unwrap().id, id, "and everyone sees it");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_clicks_within_the_five_seconds_is_not_refused() {
    let bench = Bench::new().await;
    let mut link = host_with_tests(&bench).await;
    switch(&bench, &mut link).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let Submitted::Accepted(mine) = bench.handle.submit(host("hsb0"), wish(Op::Test)).await else { panic!() };
    let (id, _) = next_command(&mut link).await;
    assert_eq!(id, mine.id);
    link.say(status(id, "test", 0, 0)).await;
    tokio::time::sleep(Duration::from_mins(90)).await;
    assert_eq!(bench.world().commands.len(), 2, "the switch, and the person's test");
}

#[tokio::test(start_paused = true)]
async fn a_killed_actor_and_a_restarted_daemon_still_begin_them_once() {
    let bench = Bench::new().await;
    let mut link = host_with_tests(&bench).await;
    switch(&bench, &mut link).await;
    link.actor.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let link = host_with_tests(&bench).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(link);
    let bench = bench.restart().await;
    let mut link = host_with_tests(&bench).await;
    let (id, op) = next_command(&mut link).await;
    assert_eq!(op, "test");
    link.say(status(id, "test", 0, 0)).await;
    tokio::time::sleep(Duration::from_mins(90)).await;
    assert_eq!(bench.world().commands.len(), 2);
}
