//! A made-up fleet on a day like others, for the pictures of the documentation: an update is rolled out behind its
//! canary, one host builds, one laptop is away, another update waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::agent::{DeviceType, HostType, Location, Metrics};
use nixfleet_protocol::api::{
    Canary, Category, Command, CommandState, GroupState, Host, HostState, Level, LightStatus, Offline, Progress,
    PullRequest, Remote, Run, RunGroup, RunOptions, RunState, Waves,
};
use nixfleet_protocol::{Op, RunId};

use super::{ago, behind, command, event, generations, green, host, light, put, remote, run, server};

const OLD: &str = "77aa01c0b7d35e8812f04c6a9d1e7b2233445566";

/// Name, device, colour, place, tags, CPU, RAM.
type Row = (&'static str, DeviceType, &'static str, Location, &'static [&'static str], f64, f64);

fn hosts() -> Vec<Host> {
    use DeviceType::{Desktop, Gaming, Laptop, Server};
    use Location::{Cloud, Home, Work};
    let rows: [Row; 12] = [
        ("atlas", Server, "#2563eb", Home, &["storage"], 9.0, 52.0),
        ("build-1", Server, "#d97706", Work, &["builder"], 93.0, 71.0),
        ("dns-1", Server, "#0d9488", Home, &["canary"], 3.0, 18.0),
        ("edge-1", Server, "#0891b2", Cloud, &["canary", "web"], 14.0, 37.0),
        ("edge-2", Server, "#7c3aed", Cloud, &["web"], 11.0, 35.0),
        ("media", Server, "#db2777", Home, &[], 22.0, 64.0),
        ("vault", Server, "#65a30d", Work, &["backup"], 6.0, 29.0),
        ("imac", Desktop, "#ea580c", Home, &[], 17.0, 58.0),
        ("studio", Desktop, "#4f46e5", Home, &[], 31.0, 66.0),
        ("air", Laptop, "#0284c7", Home, &[], 0.0, 0.0),
        ("field-kit", Laptop, "#b45309", Work, &[], 8.0, 44.0),
        ("couch", Gaming, "#9333ea", Home, &[], 38.0, 49.0),
    ];
    let made = rows.into_iter().map(|(name, device, color, place, tags, cpu, ram)| {
        let follows = matches!(name, "imac" | "studio" | "air" | "field-kit" | "couch");
        let mut made = host(name, device, color, if follows { behind() } else { green() });
        made.location = place;
        made.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        made.metrics = Some(Metrics { cpu: Some(cpu), ram: Some(ram), swap: Some(0.0), load: Some(cpu / 25.0) });
        made.generations = generations();
        if follows {
            let (git, old) = (&mut made.generation, OLD.parse().unwrap());
            *git = Some(old);
            made.deployed.as_mut().unwrap().commit = OLD.parse().unwrap();
        }
        if matches!(name, "imac" | "air") {
            made.host_type = HostType::Macos;
        }
        made
    });
    made.collect()
}

fn of_run(
    n: u64,
    name: &str,
    op: Op,
    state: CommandState,
    (seconds, took): (i64, i64),
    said: &str,
    id: RunId,
) -> Command {
    let mut made = command(n, name, op, state);
    made.actor = format!("pipeline:{id}");
    made.run_id = Some(id);
    made.created_at = ago(seconds);
    made.started_at = Some(ago(seconds));
    made.finished_at = state.is_final().then(|| ago(seconds - took));
    made.message = (!said.is_empty()).then(|| said.to_owned());
    made
}

/// The canary is through, the first wave builds, the second waits.
fn roll_out() -> Run {
    use CommandState::{Executing, Pending, Success};
    let stages = [
        ("dns-1", [Success; 3]),
        ("edge-1", [Success; 3]),
        ("atlas", [Success; 3]),
        ("build-1", [Success, Executing, Pending]),
        ("edge-2", [Success, Success, Executing]),
        ("media", [Success; 3]),
        ("vault", [Success; 3]),
        ("imac", [Pending; 3]),
        ("studio", [Pending; 3]),
        ("field-kit", [Pending; 3]),
        ("couch", [Pending; 3]),
    ];
    let group = |label: &str, canary, state, from: usize, to: usize| RunGroup {
        label: label.to_owned(),
        canary,
        hosts: stages[from..to].iter().map(|(name, _)| name.parse().unwrap()).collect(),
        state,
        soak_until: None,
    };
    let mut made = run(80, RunState::Running, 1, &stages);
    made.created_at = ago(410);
    made.groups = vec![
        group("Canary", true, GroupState::Passed, 0, 2),
        group("Wave 1 of 2", false, GroupState::Running, 2, 7),
        group("Wave 2 of 2", false, GroupState::Waiting, 7, 11),
    ];
    made.group = 1;
    "Wave 1 of 2: Switch.".clone_into(&mut made.message);
    made.options = RunOptions {
        canary: Some(Canary { hosts: Vec::new(), tag: Some("canary".to_owned()) }),
        waves: Some(Waves::Count(2)),
        offline: Offline::Skip,
        ..RunOptions::default()
    };
    made.notes = BTreeMap::new();
    made
}

/// The fleet.
pub(in super::super) fn story() -> FleetState {
    use CommandState::{Error, Executing, Success};
    let run_now = roll_out();
    let id = run_now.id;
    let mut building = of_run(60, "build-1", Op::Switch, Executing, (96, 0), "", id);
    building.progress = Some(Progress {
        phase: "build".to_owned(),
        done: Some(63),
        expected: Some(96),
        text: "building caddy-2.11.0".to_owned(),
    });
    let testing = of_run(61, "edge-2", Op::Test, Executing, (8, 0), "", id);
    let mut failed = command(40, "couch", Op::Switch, Error);
    failed.created_at = ago(52_000);
    failed.finished_at = Some(ago(51_900));
    failed.message = Some("error: builder for 'gpu-driver-570.133.drv' failed with exit code 1".to_owned());

    let mut state = FleetState::new(
        Remote {
            pull_request: Some(PullRequest {
                number: 214,
                title: "flake.lock: update 11 inputs".to_owned(),
                url: "https://git.example/infra/fleet/pulls/214".to_owned(),
                mergeable: Some(true),
                why_not: None,
                author: "updates".to_owned(),
                head: "9f2c41a0b7d35e8812f04c6a9d1e7b2233445567".parse().unwrap(),
                labels: vec!["automated".to_owned()],
                commits: Some(1),
                changed_files: Some(1),
                created_at: ago(5_000),
            }),
            ..remote()
        },
        server(),
    );
    for mut host in hosts() {
        match host.id.as_str() {
            "build-1" => host.command = Some(Box::new(building.clone())),
            "edge-2" => host.command = Some(Box::new(testing.clone())),
            "air" => {
                (host.state, host.last_seen, host.metrics) = (HostState::Offline, Some(ago(31_000)), None);
                host.offers = Arc::default();
            }
            _ => {}
        }
        if let Some(command) = &host.command {
            let lights = Arc::make_mut(&mut host.lights);
            let (of, said) = if command.op == Op::Test {
                (&mut lights.tests, "Tests are running.")
            } else {
                (&mut lights.system, "Switch is running.")
            };
            *of = light(LightStatus::Working, said, nixfleet_protocol::api::ActionKind::Log, None, "Show progress");
            of.action.command_id = Some(command.id);
            host.offers = Arc::default();
        }
        put(&mut state, host);
    }
    let mut commands = vec![failed, building, testing];
    let done = [
        (58, "vault", Op::Test, 42, 11, "12 of 12 tests passed"),
        (57, "media", Op::Test, 75, 14, "12 of 12 tests passed"),
        (56, "atlas", Op::Test, 101, 12, "12 of 12 tests passed"),
        (55, "edge-2", Op::Switch, 130, 118, "9f2c41a is deployed"),
        (54, "vault", Op::Switch, 131, 85, "9f2c41a is deployed"),
        (53, "media", Op::Switch, 131, 52, "9f2c41a is deployed"),
        (52, "atlas", Op::Switch, 132, 28, "9f2c41a is deployed"),
    ];
    commands.extend(done.map(|(n, name, op, at, took, said)| of_run(n, name, op, Success, (at, took), said, id)));
    state.commands.extend(commands.into_iter().map(|command| (command.id, Arc::new(command))));
    let all: Vec<(&str, [CommandState; 3])> =
        ["atlas", "build-1", "dns-1", "edge-1", "edge-2"].map(|it| (it, [Success; 3])).into();
    for (n, seconds, took) in [(70, 176_000, 640), (71, 90_000, 480)] {
        let mut past = run(n, RunState::Complete, 2, &all);
        (past.created_at, past.finished_at) = (ago(seconds), Some(ago(seconds - took)));
        state.runs.insert(past.id, Arc::new(past));
    }
    let by_run = format!("pipeline:{id}");
    let told = [
        (
            92,
            30,
            Level::Success,
            Some("vault"),
            "command_finished",
            "test succeeded: 12 of 12 tests passed",
            &*by_run,
            "test",
        ),
        (
            91,
            46,
            Level::Success,
            Some("vault"),
            "command_finished",
            "switch succeeded: 9f2c41a is deployed",
            &by_run,
            "switch",
        ),
        (90, 135, Level::Info, None, "run_group", "Do all: the canary came through, wave 1 of 2 begins", &by_run, ""),
        (89, 410, Level::Info, None, "run_started", "Do all starts on 11 hosts", "user", ""),
        (88, 5_000, Level::Info, None, "update_waits", "Update #214 waits: flake.lock: update 11 inputs", "system", ""),
        (87, 9_300, Level::Info, None, "login", "Signed in from 192.0.2.7", "user", ""),
        (
            86,
            51_900,
            Level::Error,
            Some("couch"),
            "command_finished",
            "switch failed: the build of gpu-driver-570.133 failed",
            "user",
            "switch",
        ),
    ];
    state.events.extend(told.into_iter().map(|(n, seconds, level, host, action, message, actor, op)| {
        let mut made = event(n, seconds, level, host, action, message);
        made.category = Category::Audit;
        actor.clone_into(&mut made.actor);
        if !op.is_empty() {
            made.details = serde_json::json!({ "op": op });
        }
        Arc::new(made)
    }));
    state.runs.insert(id, Arc::new(run_now));
    state
}
