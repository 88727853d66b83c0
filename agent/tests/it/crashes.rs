//! The agent, the runner and the link are killed at bad moments. The command does not notice.

use std::fs;
use std::time::Duration;

use nixfleet_protocol::agent::DashboardMessage;

use crate::world::{World, new_id, processes_with, until};

/// A switch that prints a line, waits until the test lets it go, and prints the rest. It leaves a trace of each run.
const SLOW: &str = "#!/bin/sh
echo ran >> \"$HOME/runs\"
echo begun
i=0
while [ ! -e \"$HOME/go\" ]; do
  i=$((i + 1))
  echo \"tick $i\"
  sleep 0.05
done
for n in 1 2 3 4 5; do echo \"last $n\" >&2; done
exit 7
";

fn runs(world: &World) -> usize {
    fs::read_to_string(world.path("runs")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_switch_survives_kill_9_of_the_agent_and_every_line_arrives_once() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "tick 3").await;
    agent.kill();
    let _ = world.dashboard.until_closed(&mut link).await;
    let second = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.running, [id]);
    world.dashboard.until_line(&mut link, id, "tick 8").await;
    // Once more, and this time it ends while nobody is there.
    second.kill();
    fs::write(world.path("go"), "").unwrap();
    let result = world.folder(id).join("result.json");
    until("the result", || result.exists()).await;
    let _third = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.results, [id]);
    assert!(link.register.running.is_empty());
    world.dashboard.until_ended(&mut link, id).await;
    let kept = world.dashboard.of(id);
    let result = kept.result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(7), Some("activation")));
    let lines = kept.lines();
    assert_eq!(lines[0], "begun");
    let ticks: Vec<&String> = lines.iter().filter(|line| line.starts_with("tick")).collect();
    assert!(ticks.iter().zip(1..).all(|(line, n)| **line == format!("tick {n}")), "{ticks:?}");
    assert_eq!(lines[lines.len() - 5..], ["last 1", "last 2", "last 3", "last 4", "last 5"]);
    assert_eq!(runs(&world), 1);
    // The same id once more runs nothing; its result is the answer.
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until(&mut link, "the result again", |dashboard| dashboard.of(id).statuses == 2).await;
    assert_eq!(runs(&world), 1);
}

#[tokio::test]
async fn a_command_that_was_accepted_and_not_begun_is_begun_by_the_next_agent() {
    let mut world = World::new().await;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let done = world.dashboard.run(&mut link, "pull").await;
    agent.kill();
    // As if the agent had been killed right after `accepted`: an order, and nothing else.
    let id = new_id();
    let order = fs::read_to_string(world.folder(done).join("command.json")).unwrap();
    let order = order.replace(&done.to_string(), &id.to_string()).replace("\"pull\"", "\"switch\"");
    fs::create_dir(world.folder(id)).unwrap();
    fs::write(world.folder(id).join("command.json"), order).unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.running, [id]);
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).lines(), ["hello from the switch"]);
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_runner_that_is_killed_leaves_no_process_and_an_interrupted_command() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho begun\nsetsid sleep 1000 &\nsleep 1000\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "begun").await;
    let claim: serde_json::Value =
        serde_json::from_slice(&fs::read(world.folder(id).join("started")).unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(claim["pid"].as_i64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.stage.as_deref(), Some("interrupted"), "{result:?}");
    assert_ne!(result.exit_code, Some(0));
    let carried = format!("NIXFLEET_COMMAND_ID={id}");
    until("no process is left", || processes_with(&carried).is_empty()).await;
    // The host is free again.
    let test = world.dashboard.run(&mut link, "test").await;
    assert_eq!(world.dashboard.of(test).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_result_is_told_until_it_is_acknowledged() {
    let mut world = World::new().await;
    world.dashboard.acks_status = false;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let id = world.dashboard.run(&mut link, "pull").await;
    agent.kill();
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.results, [id]);
    world.dashboard.until(&mut link, "the result again", |dashboard| dashboard.of(id).statuses == 2).await;
    drop(link);
    // The same over a new link of the same process.
    world.dashboard.acks_status = true;
    let mut link = world.dashboard.registered().await;
    world.dashboard.until(&mut link, "the result again", |dashboard| dashboard.of(id).statuses == 3).await;
    until("the acknowledgement is written", || world.folder(id).join("acknowledged").exists()).await;
    agent.kill();
    let _agent = world.start();
    let link = world.dashboard.registered().await;
    assert!(link.register.results.is_empty());
}

#[tokio::test]
async fn the_journal_keeps_its_name_and_each_process_has_another() {
    let mut world = World::new().await;
    let agent = world.start();
    let first = world.dashboard.dialled().await;
    agent.kill();
    let _agent = world.start();
    let second = world.dashboard.dialled().await;
    assert_eq!(first.register.journal, second.register.journal);
    assert_ne!(first.register.instance, second.register.instance);
    assert_eq!(first.register.boot_id, second.register.boot_id);
}

#[tokio::test]
async fn an_agent_that_ends_in_good_order_says_so_and_its_command_goes_on() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let mut agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "tick 2").await;
    agent.terminate();
    let close = world.dashboard.until_closed(&mut link).await.expect("no close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "shutdown"));
    drop(link);
    assert_eq!(agent.ended().await.code(), Some(0));
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.running, [id]);
    fs::write(world.path("go"), "").unwrap();
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(7));
}

#[tokio::test]
async fn a_restart_ends_when_the_new_process_is_there() {
    let mut world = World::new().await;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let (pid, instance) = (agent.pid(), link.register.instance);
    let id = new_id();
    world.dashboard.order(&mut link, id, "restart").await;
    let close = world.dashboard.until_closed(&mut link).await.expect("no close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "restarting"));
    drop(link);
    assert_eq!(world.dashboard.of(id).accepted, 1);
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.results, [id]);
    assert_ne!(link.register.instance, instance);
    assert_eq!(agent.pid(), pid);
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0));
    // The id is spent: no second restart.
    world.dashboard.order(&mut link, id, "restart").await;
    world.dashboard.until(&mut link, "the result again", |dashboard| dashboard.of(id).statuses == 2).await;
}

#[tokio::test]
async fn under_a_service_manager_a_restart_is_exit_101() {
    let mut world = World::new().await;
    // A shell tells the agent its own process number, as systemd does.
    let command = world.agent_command();
    let program = command.get_program().to_owned();
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "SYSTEMD_EXEC_PID=$$ exec \"$0\""]).arg(program).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut link = world.dashboard.registered().await;
    world.dashboard.order(&mut link, new_id(), "restart").await;
    let _ = world.dashboard.until_closed(&mut link).await;
    drop(link);
    let mut code = None;
    until("the agent ends", || {
        code = child.try_wait().unwrap();
        code.is_some()
    })
    .await;
    assert_eq!(code.unwrap().code(), Some(101));
}

#[tokio::test]
async fn a_reboot_runs_the_configured_program_and_is_over_with_the_next_boot() {
    let world = World::new().await;
    let root = world.path("root");
    fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
    fs::write(root.join("proc/sys/kernel/random/boot_id"), "boot-one\n").unwrap();
    crate::world::executable(&world.path("bin/reboot-for-tests"), "#!/bin/sh\necho going down\n");
    let mut world =
        world.with("NIXFLEET_ROOT", root.display().to_string()).with("NIXFLEET_REBOOT_COMMAND", "reboot-for-tests now");
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.boot_id.as_ref().unwrap().0, "boot-one");
    let id = new_id();
    world.dashboard.order(&mut link, id, "reboot").await;
    world.dashboard.until_line(&mut link, id, "waiting for the host to go down").await;
    // The host goes down: everything ends, without a result.
    for pid in processes_with(&world.folder(id).display().to_string()) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    world.dashboard.listen_for(&mut link, Duration::from_millis(1500)).await;
    assert!(world.dashboard.of(id).status.is_none(), "a host that goes down is no failed reboot");
    agent.kill();
    fs::write(root.join("proc/sys/kernel/random/boot_id"), "boot-two\n").unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.boot_id.as_ref().unwrap().0, "boot-two");
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_reboot_that_is_under_way_can_not_be_stopped_and_is_no_killed_command() {
    let world = World::new().await;
    let boot_id = world.path("root/proc/sys/kernel/random/boot_id");
    fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
    fs::write(&boot_id, "boot-one\n").unwrap();
    crate::world::executable(&world.path("bin/reboot-for-tests"), "#!/bin/sh\necho going down\n");
    let root = world.path("root").display().to_string();
    let mut world = world.with("NIXFLEET_ROOT", root).with("NIXFLEET_REBOOT_COMMAND", "reboot-for-tests");
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "reboot").await;
    world.dashboard.until_line(&mut link, id, "waiting for the host to go down").await;
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_line(&mut link, id, "goes down already").await;
    world.dashboard.listen_for(&mut link, Duration::from_millis(500)).await;
    assert!(world.dashboard.of(id).status.is_none(), "{:?}", world.dashboard.of(id).status);
    agent.kill();
    for pid in processes_with(&world.folder(id).display().to_string()) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
    }
    fs::write(&boot_id, "boot-two\n").unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_switch_that_brought_another_agent_makes_the_agent_restart() {
    let script = format!("#!/bin/sh\n{ANOTHER_AGENT}");
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", &script)]);
    brings_another_agent(world, "switch").await;
}

#[tokio::test]
async fn a_rebuild_past_the_caches_that_brought_another_agent_makes_the_agent_restart() {
    let world = crate::deploys::nixos(&format!("{}{ANOTHER_AGENT}", crate::deploys::ACTIVATES)).await;
    brings_another_agent(world, "force-rebuild").await;
}

/// What replaces the agent, as a switch does.
const ANOTHER_AGENT: &str = "cp \"$HOME/bin/nixfleet-agent\" \"$HOME/new\"\necho >> \"$HOME/new\"\nmv \"$HOME/new\" \"$HOME/bin/nixfleet-agent\"\n";

async fn brings_another_agent(mut world: World, op: &str) {
    let place = world.path("bin/nixfleet-agent");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &place).unwrap();
    let described = world.agent_command();
    let mut command = std::process::Command::new(&place);
    command.env_clear().envs(described.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut link = world.dashboard.registered().await;
    let instance = link.register.instance;
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, op).await;
    let details = world.dashboard.of(id).status.clone().unwrap().details;
    assert_eq!(details.unwrap()["restarting"], true, "the dashboard is told to wait for the new agent");
    let close = world.dashboard.until_closed(&mut link).await.expect("no close frame");
    assert_eq!(close.reason.as_str(), "restarting");
    drop(link);
    let mut link = world.dashboard.registered().await;
    assert_ne!(link.register.instance, instance);
    assert!(link.register.results.is_empty());
    world
        .dashboard
        .send(&mut link, DashboardMessage::KillCommand(nixfleet_protocol::agent::KillCommand::default()))
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
}
