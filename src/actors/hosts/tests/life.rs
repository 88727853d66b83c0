//! The timers of a command's life, and what lives beside it: in paused time, over the whole host actor.

use nixfleet_model::command::Command;
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Heartbeat, KillCommand};
use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{CommandId, Op};

use super::bench::{Bench, TestLink, status, wish};
use super::*;

/// A linked host, and an op that runs on it.
async fn running(op: Op) -> (Bench, TestLink, CommandId) {
    let bench = Bench::new().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    let id = begin(&bench, &mut link, op).await;
    (bench, link, id)
}

async fn begin(bench: &Bench, link: &mut TestLink, op: Op) -> CommandId {
    let submitted = bench.handle.submit(host("hsb0"), wish(op)).await;
    let Submitted::Accepted(command) = submitted else { panic!("{submitted:?}") };
    assert!(matches!(link.next().await, DashboardMessage::Command(sent) if sent.command_id == Some(command.id)));
    command.id
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

/// Lets time pass; what is due by then is done.
async fn pass(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(20)).await;
}

fn state(bench: &Bench, id: CommandId) -> CommandState {
    bench.world().commands[&id].state
}

async fn act(bench: &Bench, id: CommandId, action: Act) {
    bench.handle.act(host("hsb0"), id, action, "user".into()).await.unwrap();
}

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

#[tokio::test(start_paused = true)]
async fn warned_then_asked_then_extended_then_ignored() {
    let (bench, link, id) = running(Op::Test).await;
    pass(minutes(5)).await;
    assert_eq!(state(&bench, id), CommandState::RunningWarning);
    pass(minutes(5)).await;
    assert_eq!(state(&bench, id), CommandState::TimeoutPending);
    act(&bench, id, Act::Extend { minutes: 3 }).await;
    assert_eq!(state(&bench, id), CommandState::Executing);
    pass(minutes(3)).await;
    assert_eq!(state(&bench, id), CommandState::TimeoutPending);
    act(&bench, id, Act::Ignore).await;
    pass(minutes(24 * 60)).await;
    assert_eq!(state(&bench, id), CommandState::RunningWarning, "as long as it likes, and the slot stays taken");
    let second = bench.handle.submit(host("hsb0"), wish(Op::Gc)).await;
    assert!(matches!(second, Submitted::Blocked(_, refusal) if refusal.code == "host_busy"));
    link.say(status(id, "test", 0, 0)).await;
    pass(Duration::ZERO).await;
    assert_eq!(state(&bench, id), CommandState::Success, "its result is taken whenever it comes");
}

#[tokio::test(start_paused = true)]
async fn past_its_limit_it_is_stopped_by_a_person_and_asked_again_until_it_is() {
    let (bench, mut link, id) = running(Op::Test).await;
    pass(minutes(10)).await;
    act(&bench, id, Act::Stop).await;
    for _ in 0..3 {
        let frame = link.next().await;
        assert!(matches!(frame, DashboardMessage::KillCommand(KillCommand { command_id: Some(of), .. }) if of == id));
        assert_eq!(state(&bench, id), CommandState::Killing);
        pass(Duration::from_secs(30)).await;
    }
    link.say(status(id, "test", 130, 0)).await;
    pass(Duration::ZERO).await;
    assert_eq!(state(&bench, id), CommandState::Killed);
}

#[tokio::test(start_paused = true)]
async fn where_the_operator_says_so_the_limit_kills_without_asking() {
    let bench = Bench::that_kills().await;
    let mut link = bench.link("hsb0", 3).await;
    link.next().await;
    let id = begin(&bench, &mut link, Op::Test).await;
    pass(minutes(10)).await;
    assert!(matches!(link.next().await, DashboardMessage::KillCommand(kill) if kill.command_id == Some(id)));
    assert_eq!(state(&bench, id), CommandState::Killing);
}

#[tokio::test(start_paused = true)]
async fn clocks_stand_still_while_the_host_is_away_and_seven_days_are_the_end() {
    let (bench, link, id) = running(Op::Test).await;
    pass(minutes(4)).await;
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    pass(minutes(60)).await;
    assert_eq!(state(&bench, id), CommandState::AwaitingReconnect);
    let mut back = bench.link_with("hsb0", 3, |register| register.running = vec![id]).await;
    back.next().await;
    pass(Duration::from_secs(50)).await;
    assert_eq!(state(&bench, id), CommandState::Executing, "4 of 5 minutes had run");
    pass(Duration::from_secs(10)).await;
    assert_eq!(state(&bench, id), CommandState::RunningWarning);
    back.actor.cast(host::Msg::LinkDown { link: back.id() }).unwrap();
    pass(minutes(7 * 24 * 60 - 1)).await;
    assert_eq!(state(&bench, id), CommandState::AwaitingReconnect);
    pass(minutes(1)).await;
    assert_eq!(state(&bench, id), CommandState::Orphaned);
    assert!(bench.seen(&host("hsb0")).unwrap().command.is_none(), "the slot is free");
}

#[tokio::test(start_paused = true)]
async fn after_a_good_switch_the_new_agent_has_ninety_seconds() {
    let (bench, mut link, id) = running(Op::Switch).await;
    let AgentMessage::Status(mut good) = status(id, "switch", 0, 0) else { panic!() };
    good.details = Some(serde_json::json!({ "restarting": true }));
    link.say(AgentMessage::Status(good)).await;
    assert!(matches!(link.next().await, DashboardMessage::StatusAck(_)));
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    pass(Duration::from_secs(88)).await;
    assert_eq!(state(&bench, id), CommandState::AwaitingReconnect);
    pass(Duration::from_secs(3)).await;
    assert_eq!(state(&bench, id), CommandState::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_the_dashboard_slept_through_is_not_timed_out_at_once() {
    let (bench, _link, id) = running(Op::Restart).await;
    let bench = bench.restart_after(minutes(4)).await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(state(&bench, id), CommandState::AwaitingReconnect, "the agent has had no time to come back yet");
    let other = "0190b6a8-0000-7000-8000-000000000077";
    bench.link_with("hsb0", 3, |register| register.instance = other.parse().ok()).await.next().await;
    pass(Duration::ZERO).await;
    assert_eq!(state(&bench, id), CommandState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_id_is_orphaned_and_no_failure() {
    let (bench, link, id) = running(Op::Test).await;
    let reason = "forgotten".to_owned();
    let rejected = nixfleet_protocol::agent::CommandRejected { reason, command_id: Some(id), ..Default::default() };
    link.say(AgentMessage::CommandRejected(rejected)).await;
    pass(Duration::ZERO).await;
    assert_eq!(state(&bench, id), CommandState::Orphaned);
}

#[tokio::test(start_paused = true)]
async fn journals_run_beside_a_command_and_end_when_their_reader_leaves_or_none_comes() {
    let (bench, mut link, slot) = running(Op::Test).await;
    let read = begin(&bench, &mut link, Op::Journal).await;
    let unread = begin(&bench, &mut link, Op::Journal).await;
    let running = Some(vec![slot, read, unread]);
    link.say(AgentMessage::Heartbeat(Box::new(Heartbeat { running, ..Heartbeat::default() }))).await;
    let reader = bench.handle.follow_log(host("hsb0"), read).await.unwrap().expect("it grows");
    pass(Duration::from_secs(29)).await;
    assert!(link.try_next().is_none(), "who comes within half a minute is waited for");
    pass(Duration::from_secs(2)).await;
    assert!(matches!(link.next().await, DashboardMessage::KillCommand(kill) if kill.command_id == Some(unread)));
    link.say(status(unread, "journal", 130, 0)).await;
    pass(minutes(3)).await;
    assert_eq!(state(&bench, read), CommandState::Executing, "it is read");
    drop(reader);
    pass(Duration::from_secs(4)).await;
    assert!(matches!(link.next().await, DashboardMessage::StatusAck(ack) if ack.command_id == unread));
    assert!(matches!(link.next().await, DashboardMessage::KillCommand(kill) if kill.command_id == Some(read)));
    link.say(status(read, "journal", 130, 0)).await;
    pass(Duration::ZERO).await;
    for id in [read, unread] {
        let ended = bench.world().commands[&id].clone();
        assert_eq!(ended.state, CommandState::Killed);
        assert!(ended.message.as_deref().is_some_and(|text| text.contains("reader left")), "{:?}", ended.message);
    }
    assert_eq!(state(&bench, slot), CommandState::Executing, "and the slot's command goes on");
}

#[tokio::test(start_paused = true)]
async fn a_journal_does_not_outlive_the_dashboard() {
    let (bench, _link, id) = running(Op::Journal).await;
    let bench = bench.restart().await;
    pass(Duration::ZERO).await;
    assert_eq!(state(&bench, id), CommandState::Killed);
    let mut back = bench.link_with("hsb0", 3, |register| register.running = vec![id]).await;
    back.next().await;
    assert!(matches!(back.next().await, DashboardMessage::KillCommand(kill) if kill.command_id == Some(id)));
    let next = bench.handle.submit(host("hsb0"), wish(Op::Test)).await;
    assert!(matches!(next, Submitted::Accepted(_)), "it keeps nobody busy: {next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_is_woken_and_the_command_ends_when_it_registers_or_does_not() {
    let bench = Bench::new().await;
    let link = bench.link_with("hsb0", 3, |it| it.mac_addresses = vec!["02:00:00:00:00:01".into(), "?".into()]).await;
    let awake = bench.handle.submit(host("hsb0"), wish(Op::Wake)).await;
    assert!(matches!(awake, Submitted::Blocked(_, refusal) if refusal.code == "host_online"));
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    let Submitted::Accepted(first) = bench.handle.submit(host("hsb0"), wish(Op::Wake)).await else { panic!() };
    assert_eq!(*bench.packets.lock().unwrap(), [[2, 0, 0, 0, 0, 1]]);
    pass(minutes(1)).await;
    assert_eq!(state(&bench, first.id), CommandState::RunningWarning);
    bench.link("hsb0", 3).await.next().await;
    assert_eq!(state(&bench, first.id), CommandState::Success);

    let (_, asleep) = (bench.link("other", 3).await.next().await, host("other"));
    let link = bench.link("other", 3).await;
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    let unknown = bench.handle.submit(asleep, wish(Op::Wake)).await;
    assert!(matches!(unknown, Submitted::Blocked(_, refusal) if refusal.code == "mac_unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stays_asleep_times_out_also_over_a_restart() {
    let bench = Bench::new().await;
    let link = bench.link_with("hsb0", 3, |it| it.mac_addresses = vec!["02:00:00:00:00:01".into()]).await;
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    let Submitted::Accepted(command) = bench.handle.submit(host("hsb0"), wish(Op::Wake)).await else { panic!() };
    let bench = bench.restart().await;
    assert_eq!(state(&bench, command.id), CommandState::Executing);
    pass(minutes(5)).await;
    assert_eq!(state(&bench, command.id), CommandState::Timeout);
}

#[tokio::test(start_paused = true)]
async fn open_commands_that_no_host_names_are_ended_at_the_start() {
    let bench = Bench::new().await;
    bench.link("hsb0", 3).await.next().await;
    let open = |number: u8, name: &str| {
        let id = format!("0190b6a8-0000-7000-8000-0000000000{number:02x}").parse().unwrap();
        let mut command =
            Command::new(id, Some(host(name)), Op::Test, "user".into(), nixfleet_protocol::Time::from_millis(1));
        command.state = CommandState::Executing;
        command
    };
    let lost = [open(1, "hsb0"), open(2, "nobody")];
    bench.world_mut().commands.extend(lost.iter().map(|command| (command.id, command.clone())));
    let bench = bench.restart().await;
    pass(Duration::from_secs(1)).await;
    for command in lost {
        assert_eq!(state(&bench, command.id), CommandState::Orphaned, "{:?}", command.host);
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_dies_while_it_asks_the_remote_leaves_no_command_behind() {
    let bench = Bench::that_never_hears_of_the_remote().await;
    let link = bench.link_with("hsb0", 3, |register| register.generation = "bbbbbbb".parse().ok()).await;
    bench.tell_remote("bbbbbbb");
    pass(Duration::ZERO).await;
    let handle = bench.handle.clone();
    let mut pull = wish(Op::Pull);
    pull.force = false;
    let asked = tokio::spawn(async move { handle.submit(host("hsb0"), pull).await });
    pass(Duration::from_secs(1)).await;
    let (id, state) = bench.world().commands.iter().map(|(id, it)| (*id, it.state)).next().unwrap();
    assert_eq!(state, CommandState::Validating);
    link.actor.kill();
    assert!(matches!(asked.await.unwrap(), Submitted::Unavailable(_)), "who asked is told");
    pass(Duration::from_secs(3)).await;
    let command = bench.world().commands[&id].clone();
    assert_eq!((command.state, command.code.as_deref()), (CommandState::Blocked, Some("not_started")));
    assert!(bench.seen(&host("hsb0")).unwrap().command.is_none(), "the slot is free");
}

#[tokio::test(start_paused = true)]
async fn the_logs_of_a_removed_host_go_with_it_and_its_open_command_ends() {
    let (bench, link, id) = running(Op::Test).await;
    link.print(id, 0, &["one", "two"]).await;
    let folder = bench.data_dir().join("logs/hsb0");
    while !folder.exists() {
        tokio::task::yield_now().await;
    }
    link.actor.cast(host::Msg::LinkDown { link: link.id() }).unwrap();
    let removed = bench.handle.submit(host("hsb0"), wish(Op::Remove)).await;
    assert!(matches!(removed, Submitted::Accepted(_)), "{removed:?}");
    assert_eq!(state(&bench, id), CommandState::Orphaned);
    assert!(!folder.exists());
    assert!(!bench.world().hosts.contains_key(&host("hsb0")));
}
