//! A made-up fleet for the tests and the preview: every state of a host, of a light and of a command.

mod past;
mod runs;
mod settings;
mod story;

use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_model::view::{HostView, SystemNow};
use nixfleet_protocol::agent::{DeviceType, Disk, HostType, Location, Metrics, Platform};
use nixfleet_protocol::api::{
    Action, ActionKind, Category, Command, CommandState, Deployed, Event, Host, HostState, Level, Light, LightStatus,
    Lights, OpEntry, PipelineEntry, Progress, PullRequest, Remote, Server,
};
use nixfleet_protocol::{EventId, Op, Time};
use serde_json::{Value, json};

pub(super) use self::past::{dense, generations, past, week};
pub(super) use self::runs::run;
pub(super) use self::settings::settings;
pub(super) use self::story::story;

/// The moment of all samples.
pub(super) const NOW: Time = Time::from_millis(1_795_240_944_007);

pub(super) fn ago(seconds: i64) -> Time {
    Time::from_millis(NOW.millis() - seconds * 1_000)
}

/// The pipelines of the product, and one of a configuration file.
pub(super) fn pipelines() -> &'static [PipelineEntry] {
    static ALL: std::sync::LazyLock<Vec<PipelineEntry>> = std::sync::LazyLock::new(|| {
        let entry = |name: &str, label: &str, ops: &[Op], built_in| PipelineEntry {
            name: name.to_owned(),
            label: label.to_owned(),
            description: format!("What {name} does."),
            ops: ops.to_vec(),
            parallel: None,
            totp: ops.contains(&Op::Reboot),
            built_in,
        };
        vec![
            entry("do-all", "Do all", &[Op::Pull, Op::Switch, Op::Test], true),
            entry("merge-deploy", "Merge & Deploy", &[Op::MergePr, Op::Pull, Op::Switch, Op::Test], true),
            entry("update", "Update all inputs", &[Op::Pull, Op::BumpFlake, Op::Switch], true),
            entry("nightly-restart", "Nightly restart", &[Op::Pull, Op::Switch, Op::Reboot], false),
        ]
    });
    &ALL
}

pub(super) fn op_entries() -> Vec<OpEntry> {
    let entry = |id: Op, label: &str, description: &str, confirm: Option<&str>| OpEntry {
        id,
        label: label.to_owned(),
        description: description.to_owned(),
        runs_on: "agent".to_owned(),
        warn_s: Some(120),
        hard_s: Some(300),
        retry: !matches!(id, Op::Rollback | Op::Reboot),
        totp: id == Op::Reboot,
        interrupts_link: matches!(id, Op::Restart | Op::Reboot),
        confirm: confirm.map(str::to_owned),
        args: Vec::new(),
    };
    vec![
        entry(Op::Pull, "Pull", "Bring the checkout to the remote’s head.", None),
        entry(Op::Switch, "Switch", "Build the checkout and activate it.", None),
        entry(Op::Test, "Test", "Run the host’s tests.", None),
        entry(Op::Plan, "Plan", "Build and report what a switch would change.", None),
        entry(
            Op::Rollback,
            "Roll back",
            "Go back to the generation before.",
            Some(
                "The host goes back to the system that ran before the last switch. Services that differ are restarted.",
            ),
        ),
        entry(Op::ForceRebuild, "Rebuild", "Switch past the caches.", None),
        entry(Op::BumpFlake, "Update inputs", "Update flake inputs in the checkout.", None),
        entry(Op::RefreshGit, "Read remote", "Ask the remote again.", None),
        entry(Op::RefreshLock, "Read lock", "Read the lock file again.", None),
        entry(
            Op::RefreshSystem,
            "Compute system",
            "Compute the closure’s path without building it.",
            Some("This evaluates the whole configuration and may take minutes of one core."),
        ),
        entry(Op::CheckVersion, "Check agent", "Compare the installed agent with the running one.", None),
        entry(Op::Restart, "Restart agent", "Restart the agent.", None),
        entry(
            Op::Reboot,
            "Reboot",
            "Reboot the host.",
            Some("The host reboots now. Everything that runs on it stops."),
        ),
        entry(Op::Wake, "Wake", "Wake the host by network.", None),
        entry(Op::Gc, "Collect garbage", "Delete what no generation needs.", None),
        entry(Op::Remove, "Remove", "Forget the host.", Some("The host, its history and its token are forgotten.")),
    ]
}

pub(super) fn refused(host: &Host) -> Vec<(Op, String)> {
    Op::ALL
        .iter()
        .filter(|op| !host.offers.contains(op))
        .map(|op| {
            let why = match (host.state, &host.command, op) {
                (HostState::Offline | HostState::Never, _, _) => format!("{} is offline.", host.id),
                (_, Some(command), _) => format!("{} is busy with {}.", host.id, command.op),
                (_, None, Op::Pull) => "The checkout is at the remote’s head already.".to_owned(),
                (_, None, Op::Switch) => "What is deployed is current already.".to_owned(),
                (_, None, _) => "Only for a host that is offline.".to_owned(),
            };
            (*op, why)
        })
        .collect()
}

pub(super) fn light(status: LightStatus, message: &str, kind: ActionKind, op: Option<Op>, label: &str) -> Light {
    let action = Action { kind, op, pipeline: None, command_id: None, label: label.to_owned(), args: None };
    Light { status, message: message.to_owned(), action, also: Vec::new() }
}

fn details(status: LightStatus, message: &str) -> Light {
    light(status, message, ActionKind::Details, None, "Details")
}

/// All green.
pub(super) fn green() -> Lights {
    use LightStatus::Ok;
    Lights {
        agent: details(Ok, "Version 0.4.0, as the dashboard."),
        git: details(Ok, "At 9f2c41a, the remote’s head."),
        lock: details(Ok, "The lock is the remote’s."),
        system: details(Ok, "9f2c41a is deployed."),
        tests: details(Ok, "12 of 12 tests passed on what is deployed."),
    }
}

fn behind() -> Lights {
    use LightStatus::{Ok, Outdated};
    Lights {
        git: light(Outdated, "3 commits behind: caddy: rotate logs weekly.", ActionKind::Op, Some(Op::Pull), "Pull"),
        system: light(Outdated, "Git is behind.", ActionKind::Pipeline, None, "Pull and switch"),
        tests: details(Ok, "12 of 12 tests passed on what is deployed."),
        ..green()
    }
}

pub(super) fn host(name: &str, device: DeviceType, color: &str, lights: Lights) -> Host {
    let all = [Op::Test, Op::Plan, Op::Rollback, Op::ForceRebuild, Op::BumpFlake, Op::RefreshGit, Op::RefreshLock];
    let more = [Op::RefreshSystem, Op::CheckVersion, Op::Restart, Op::Reboot, Op::Gc];
    let mut offers: Vec<Op> = all.into_iter().chain(more).collect();
    if lights.git.status != LightStatus::Ok {
        offers.push(Op::Pull);
    }
    if lights.system.status != LightStatus::Ok {
        offers.push(Op::Switch);
    }
    Host {
        id: name.parse().unwrap(),
        platform: Some(Platform::Nixos),
        host_type: HostType::Nixos,
        state: HostState::Online,
        last_seen: Some(ago(3)),
        agent_version: Some("0.4.0".to_owned()),
        agent_protocol: Some(3),
        os_version: Some("26.11".to_owned()),
        nixpkgs_version: Some("26.11.20261118.a1b2c3d".to_owned()),
        generation: "9f2c41a0b7d35e8812f04c6a9d1e7b2233445566".parse().ok(),
        lock_hash: "ab".repeat(32).parse().ok(),
        deployed: Some(Deployed {
            commit: "9f2c41a0b7d35e8812f04c6a9d1e7b2233445566".parse().unwrap(),
            lock_hash: None,
            system_path: Some("/nix/store/4k2z0cq7-nixos-system-26.11".to_owned()),
            at: ago(8_000),
        }),
        location: Location::Home,
        device_type: device,
        color: Some(color.to_owned()),
        tags: Vec::new(),
        comment: None,
        metrics: Some(Metrics { cpu: Some(12.0), ram: Some(41.0), swap: Some(0.0), load: Some(0.4) }),
        disk: Some(Disk {
            store_free: 212_000_000_000,
            store_total: 512_000_000_000,
            boot_free: None,
            boot_total: None,
        }),
        reboot_required: Some(false),
        failed_units: Vec::new(),
        repo_error: None,
        lights: Arc::new(lights),
        command: None,
        offers: offers.into(),
        broken: None,
        past: Arc::new(past(name)),
        generations: Arc::default(),
    }
}

pub(super) fn command(n: u64, host: &str, op: Op, state: CommandState) -> Command {
    let over = state.is_final();
    Command {
        id: format!("01920000-0000-7000-8000-{n:012x}").parse().unwrap(),
        host: host.parse().ok(),
        op,
        args: json!({}),
        state,
        code: None,
        message: None,
        actor: "user".to_owned(),
        force: false,
        run_id: None,
        created_at: ago(134),
        sent_at: Some(ago(134)),
        started_at: Some(ago(133)),
        finished_at: over.then(|| ago(20)),
        waiting_since: (state == CommandState::AwaitingReconnect).then(|| ago(40)),
        exit_code: over.then_some(0),
        stage: None,
        log_bytes: 48_213,
        progress: None,
        details: Value::Null,
    }
}

pub(super) fn event(n: u64, seconds: i64, level: Level, host: Option<&str>, action: &str, message: &str) -> Event {
    Event {
        id: EventId(n),
        time: ago(seconds),
        category: if action.starts_with("command") { Category::Audit } else { Category::System },
        level,
        actor: "user".to_owned(),
        host: host.and_then(|host| host.parse().ok()),
        action: action.to_owned(),
        message: message.to_owned(),
        details: Value::Null,
    }
}

pub(super) fn remote() -> Remote {
    Remote {
        source: Some("https://git.example/infra/fleet.git".to_owned()),
        branch: "main".to_owned(),
        commit: "9f2c41a0b7d35e8812f04c6a9d1e7b2233445566".parse().ok(),
        subject: Some("caddy: rotate logs weekly".to_owned()),
        author: Some("Operator".to_owned()),
        committed_at: Some(ago(7_900)),
        lock_hash: "ab".repeat(32).parse().ok(),
        read_at: Some(ago(12)),
        error: None,
        pull_request: None,
        pull_request_error: None,
        merged: None,
    }
}

pub(super) fn server() -> Server {
    Server { version: "0.4.0".to_owned(), started_at: ago(90_000), store_error: None, shared_agent_token: false }
}

/// Nothing at all.
pub(super) fn empty() -> FleetState {
    FleetState::new(Remote { source: None, commit: None, ..Remote::default() }, server())
}

/// Puts a host into a state, in place of one of the same name.
pub(super) fn put(state: &mut FleetState, host: Host) {
    let view = HostView { host: Arc::new(host), refused: Arc::default(), system: SystemNow::Unknown };
    state.hosts.insert(view.host.id.clone(), Arc::new(view));
}

/// Every state of a host and of a light.
pub(super) fn state() -> FleetState {
    use DeviceType::{Desktop, Gaming, Laptop, Server as Machine, Unknown};
    use LightStatus::{Error, Outdated, Unknown as Grey, Working};
    let mut switching = host("hsb1", Machine, "#d97706", behind());
    switching.tags = vec!["dns".to_owned()];
    let mut run = command(1, "hsb1", Op::Switch, CommandState::Executing);
    run.progress = Some(Progress {
        phase: "build".to_owned(),
        done: Some(41),
        expected: Some(96),
        text: "building caddy-2.11.0".to_owned(),
    });
    Arc::make_mut(&mut switching.lights).system = light(Working, "Switch is running.", ActionKind::Stop, None, "Stop");
    Arc::make_mut(&mut switching.lights).system.action.command_id = Some(run.id);
    switching.command = Some(Box::new(run.clone()));
    switching.offers = Arc::default();
    switching.metrics = Some(Metrics { cpu: Some(97.0), ram: Some(83.0), swap: Some(4.0), load: Some(8.2) });

    let mut failed_run = command(2, "csb0", Op::Switch, CommandState::Error);
    failed_run.message = Some("The unit caddy.service failed to start.".to_owned());
    failed_run.exit_code = Some(4);
    let mut failing = host("csb0", Machine, "#0891b2", green());
    failing.location = Location::Cloud;
    failing.tags = vec!["web".to_owned(), "edge".to_owned()];
    Arc::make_mut(&mut failing.lights).system =
        light(Error, "The last switch failed: caddy.service did not start.", ActionKind::Log, None, "Show the log");
    Arc::make_mut(&mut failing.lights).system.action.command_id = Some(failed_run.id);
    Arc::make_mut(&mut failing.lights).system.also = vec![
        Action {
            kind: ActionKind::Op,
            op: Some(Op::Switch),
            pipeline: None,
            command_id: None,
            label: "Try again".to_owned(),
            args: None,
        },
        Action {
            kind: ActionKind::Op,
            op: Some(Op::Rollback),
            pipeline: None,
            command_id: None,
            label: "Roll back".to_owned(),
            args: None,
        },
    ];
    failing.failed_units = vec!["caddy.service".to_owned()];
    failing.generations = generations();
    failing.offers = failing.offers.iter().copied().chain([Op::Switch]).collect();

    let mut late = host("csb1", Machine, "#7c3aed", green());
    late.location = Location::Cloud;
    let mut late_run = command(3, "csb1", Op::Test, CommandState::TimeoutPending);
    late_run.created_at = ago(640);
    late_run.started_at = Some(ago(640));
    Arc::make_mut(&mut late.lights).tests = light(Working, "Tests are running.", ActionKind::Log, None, "Show the log");
    Arc::make_mut(&mut late.lights).tests.action.command_id = Some(late_run.id);
    late.command = Some(Box::new(late_run.clone()));
    late.offers = Arc::default();

    let mut pulled = host("gpc0", Gaming, "#db2777", green());
    Arc::make_mut(&mut pulled.lights).system =
        light(Outdated, "Pulled, not switched.", ActionKind::Op, Some(Op::Switch), "Switch");
    Arc::make_mut(&mut pulled.lights).tests =
        light(Outdated, "The last run was for another system.", ActionKind::Op, Some(Op::Test), "Test");
    pulled.offers = pulled.offers.iter().copied().chain([Op::Switch]).collect();
    pulled.deployed.as_mut().unwrap().commit = "77aa01c".parse().unwrap();
    pulled.reboot_required = Some(true);
    pulled.metrics = Some(Metrics { cpu: Some(34.0), ram: Some(62.0), swap: None, load: None });

    let mut away = host("mba-air", Laptop, "#16a34a", behind());
    away.host_type = HostType::Macos;
    away.platform = Some(Platform::NixDarwin);
    away.os_version = Some("26.1".to_owned());
    away.state = HostState::Offline;
    away.last_seen = Some(ago(11_000));
    away.generation = "77aa01c".parse().ok();
    away.offers = [Op::Remove].into();

    let mut stale = host("mbp-work", Laptop, "#4f46e5", green());
    stale.host_type = HostType::Macos;
    stale.location = Location::Work;
    stale.state = HostState::Stale;
    stale.last_seen = Some(ago(38));
    Arc::make_mut(&mut stale.lights).agent = light(
        Error,
        "Agent 0.3.2 is older than the dashboard (0.4.0).",
        ActionKind::Pipeline,
        None,
        "Update the agent",
    );
    Arc::make_mut(&mut stale.lights).agent.action.pipeline = Some("update-agent".to_owned());

    let mut never = host("nuc-den", Unknown, "#64748b", green());
    let grey = |message| details(Grey, message);
    never.lights = Arc::new(Lights {
        agent: grey("Never connected."),
        git: grey("The host has reported no commit."),
        lock: grey("No lock reported."),
        system: grey("No switch known."),
        tests: grey("Never ran."),
    });
    never.state = HostState::Never;
    never.location = Location::Unknown;
    never.host_type = HostType::Other;
    never.last_seen = None;
    never.metrics = None;
    never.past = Arc::default();
    never.generation = None;
    never.deployed = None;
    never.offers = Arc::default();
    never.color = None;

    let mut waiting = host("hsb2", Machine, "#0d9488", green());
    let lost = command(4, "hsb2", Op::Restart, CommandState::AwaitingReconnect);
    waiting.command = Some(Box::new(lost.clone()));
    waiting.state = HostState::Stale;
    waiting.last_seen = Some(ago(21));
    Arc::make_mut(&mut waiting.lights).agent =
        light(Working, "Restart is running.", ActionKind::Log, None, "Show the log");
    waiting.offers = Arc::default();

    let mut updating = host("imac0", Desktop, "#ea580c", green());
    updating.host_type = HostType::Macos;
    Arc::make_mut(&mut updating.lights).lock =
        light(Outdated, "Update #214 waits: flake.lock, 11 inputs.", ActionKind::Help, None, "Show");
    let mut tests_failed = host("hsb8", Machine, "#65a30d", green());
    Arc::make_mut(&mut tests_failed.lights).tests = light(
        Error,
        "1 of 12 tests failed: T07 backup is younger than a day.",
        ActionKind::Log,
        None,
        "Show the failures",
    );
    let mut plain = host("hsb0", Machine, "#2563eb", green());
    plain.tags = vec!["nas".to_owned()];
    plain.comment = Some("In the cellar, behind the washing machine.".to_owned());

    let done = command(5, "hsb0", Op::Pull, CommandState::Success);
    let mut blocked = command(6, "gpc0", Op::Pull, CommandState::Blocked);
    blocked.message = Some("The checkout is at the remote’s head already.".to_owned());
    blocked.code = Some("already_current".to_owned());
    let mut partial = command(7, "imac0", Op::Switch, CommandState::Partial);
    partial.message = Some("Switched, and the agent did not come back with the new version.".to_owned());

    let hosts = vec![pulled, never, switching, stale, failing, plain, late, away, waiting, updating, tests_failed];
    let events = vec![
        event(
            9,
            20,
            Level::Error,
            Some("csb0"),
            "command_finished",
            "Switch failed: the unit caddy.service failed to start.",
        ),
        event(8, 40, Level::Success, Some("hsb0"), "command_finished", "Pull: 3 commits, now at 9f2c41a."),
        event(7, 133, Level::Info, Some("hsb1"), "command_started", "Switch was started."),
        event(6, 700, Level::Warn, Some("mba-air"), "host_offline", "The host went offline."),
        event(5, 3_900, Level::Info, None, "login", "Signed in from 192.0.2.7."),
    ];
    let remote = Remote {
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
            created_at: ago(50_000),
        }),
        ..remote()
    };
    let mut all = FleetState::new(remote, server());
    for host in hosts {
        put(&mut all, host);
    }
    all.runs.extend(runs::all().into_iter().map(|run| (run.id, Arc::new(run))));
    let commands = [run, failed_run, late_run, lost, done, blocked, partial];
    all.commands.extend(commands.map(|command| (command.id, Arc::new(command))));
    all.events.extend(events.into_iter().map(Arc::new));
    all
}
