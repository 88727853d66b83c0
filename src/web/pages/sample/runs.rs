//! Runs: one that is over, one that goes on, one in steps, and one that asks a person.

use std::collections::BTreeMap;

use nixfleet_protocol::api::{
    Canary, CommandState, Decision, GroupState, Halted, Offline, Run, RunGroup, RunOptions, RunState, RunWait,
    WaitKind, Waves,
};
use nixfleet_protocol::{HostId, Op, Time};

use super::{NOW, ago};

pub(in crate::web::pages) fn run(n: u64, how: RunState, stage: u32, hosts: &[(&str, [CommandState; 3])]) -> Run {
    let over = !matches!(how, RunState::Running | RunState::Halted);
    Run {
        id: format!("01920000-0000-7000-8000-{n:012x}").parse().unwrap(),
        pipeline: "do-all".to_owned(),
        label: "Do all".to_owned(),
        actor: "user".to_owned(),
        state: how,
        message: if over { "It is over." } else { "It goes on." }.to_owned(),
        stage,
        ops: vec![Op::Pull, Op::Switch, Op::Test],
        hosts: hosts.iter().map(|(host, states)| (host.parse().unwrap(), states.to_vec())).collect(),
        commands: hosts.iter().map(|(host, states)| (host.parse().unwrap(), vec![None; states.len()])).collect(),
        notes: BTreeMap::new(),
        groups: vec![RunGroup {
            label: "All hosts".to_owned(),
            canary: false,
            hosts: hosts.iter().map(|(host, _)| host.parse().unwrap()).collect(),
            state: if over { GroupState::Passed } else { GroupState::Running },
            soak_until: None,
        }],
        group: 0,
        waits: Vec::new(),
        halted: None,
        options: RunOptions::default(),
        created_at: ago(140),
        finished_at: over.then(|| ago(20)),
    }
}

/// Two of the history, one that goes on, one that is rolled out in steps, and one that asks.
pub(in crate::web::pages) fn all() -> [Run; 5] {
    use CommandState::{Error, Executing, Pending, Skipped, Success};
    [
        run(21, RunState::Complete, 2, &[("hsb0", [Success; 3]), ("hsb8", [Success; 3])]),
        run(22, RunState::Partial, 2, &[("csb0", [Success, Error, Skipped]), ("gpc0", [Success; 3])]),
        run(
            23,
            RunState::Running,
            1,
            &[
                ("hsb0", [Success, Success, Pending]),
                ("hsb1", [Success, Executing, Pending]),
                ("hsb8", [Success, Pending, Pending]),
                ("csb0", [Success, Error, Skipped]),
                ("imac0", [Success, Executing, Pending]),
            ],
        ),
        staged(),
        halted(),
    ]
}

fn group(label: &str, state: GroupState, hosts: &[&str]) -> RunGroup {
    RunGroup {
        label: label.to_owned(),
        canary: label == "Canary",
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        state,
        soak_until: (state == GroupState::Soaking).then(|| Time::from_millis(NOW.millis() + 250_000)),
    }
}

/// The canary is through, the first wave soaks, and a host of it was waited for.
fn staged() -> Run {
    use CommandState::{Pending, Skipped, Success};
    let later = |seconds: i64| Some(Time::from_millis(NOW.millis() + seconds * 1_000));
    let hosts = [
        ("hsb0", [Success; 3]),
        ("hsb1", [Success; 3]),
        ("hsb8", [Success, Success, Pending]),
        ("csb0", [Pending; 3]),
        ("gpc0", [Pending; 3]),
        ("mba-air", [Skipped; 3]),
    ];
    let mut run = run(24, RunState::Running, 2, &hosts);
    "Wave 1 of 2 soaks: it has to stay good.".clone_into(&mut run.message);
    run.groups = vec![
        group("Canary", GroupState::Passed, &["hsb0"]),
        group("Wave 1 of 2", GroupState::Soaking, &["hsb1", "hsb8", "mba-air"]),
        group("Wave 2 of 2", GroupState::Waiting, &["csb0", "gpc0"]),
    ];
    run.group = 1;
    let wait = |kind, host: Option<&str>, until, message: &str| RunWait {
        kind,
        host: host.map(|host| host.parse().unwrap()),
        command_id: None,
        until,
        message: message.to_owned(),
    };
    run.waits = vec![
        wait(WaitKind::Soak, None, later(250), "Wave 1 of 2 soaks, all good so far."),
        wait(WaitKind::Online, Some("hsb8"), later(70), "Waits for hsb8 to come online."),
        wait(WaitKind::Command, Some("hsb1"), None, "Test runs on hsb1."),
    ];
    run.notes = BTreeMap::from([("mba-air".parse().unwrap(), "mba-air: offline, and was not waited for.".to_owned())]);
    run.options = RunOptions {
        canary: Some(Canary { hosts: vec!["hsb0".parse().unwrap()], tag: None }),
        waves: Some(Waves::Count(2)),
        soak_s: 600,
        max_failures: Some(1),
        parallel: Some(2),
        offline: Offline::Skip,
        ..RunOptions::default()
    };
    run
}

/// The tests of the canaries failed: a person decides.
fn halted() -> Run {
    use CommandState::{Error, Pending, Success};
    let hosts = [
        ("hsb0", [Success; 3]),
        ("csb0", [Success, Error, Pending]),
        ("gpc0", [Success, Success, Error]),
        ("imac0", [Pending; 3]),
    ];
    let mut run = run(25, RunState::Halted, 2, &hosts);
    let id = |name: &str| -> HostId { name.parse().unwrap() };
    "2 hosts of the canary have failed: csb0, gpc0.".clone_into(&mut run.message);
    let command = super::command(2, "csb0", Op::Switch, Error).id;
    run.commands.insert(id("csb0"), vec![None, Some(command), None]);
    run.notes = BTreeMap::from([
        (id("csb0"), "Switch: The unit caddy.service failed to start.".to_owned()),
        (id("gpc0"), "Run tests: 1 of 12 failed, 30-backup.".to_owned()),
    ]);
    run.groups = vec![
        group("Canary", GroupState::Failed, &["hsb0", "csb0", "gpc0"]),
        group("The others", GroupState::Waiting, &["imac0"]),
    ];
    run.halted = Some(Halted {
        at: ago(75),
        reason: run.message.clone(),
        failed: vec![id("csb0"), id("gpc0")],
        switched: vec![id("hsb0"), id("gpc0")],
        decisions: vec![Decision::RetryFailed, Decision::Rollback, Decision::Continue, Decision::Cancel],
    });
    run.options = RunOptions {
        canary: Some(Canary { hosts: Vec::new(), tag: Some("canary".to_owned()) }),
        ..RunOptions::default()
    };
    run
}
