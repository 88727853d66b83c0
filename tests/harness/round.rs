//! One round: a fleet, a plan, people and tabs; then quiet, and the examination of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::accounts;
use crate::clients;
use crate::dice::Dice;
use crate::fleet::processes_in;
use crate::ledger::{Account, Row, examine};
use crate::plan::Plan;
use crate::storm::Storm;
use crate::tab;
use crate::told::{Tally, Told};
use crate::world::World;

/// How many tabs are open.
const TABS: u64 = 3;
/// How long all commands may take to come to their ends when nothing stands in their way.
const QUIET_WITHIN: Duration = Duration::from_secs(90);
/// How soon an agent comes back by itself; one that was cut off many times waits for up to a minute, and is
/// started again.
const BACK_WITHIN: Duration = Duration::from_secs(4);

/// What came of a round.
pub(crate) struct Outcome {
    /// What was done.
    pub(crate) tally: Tally,
    /// What was found wrong.
    pub(crate) findings: Vec<String>,
    /// The last steps, when something was found.
    pub(crate) done: Vec<String>,
}

/// Plays a plan from the first start to the last end.
pub(crate) fn play(world: &mut World, plan: &Plan) -> Outcome {
    let told = Arc::new(Told::default());
    let (clients_over, tabs_end) = (Arc::new(AtomicBool::new(false)), Arc::new(tab::End::default()));
    let port = world.fleet.port;
    let tabs: Vec<_> = (0..TABS).map(|n| tab::start(port, Dice::player(plan.seed, 100 + n), &tabs_end)).collect();
    let clients: Vec<_> = (1..)
        .zip(&world.sites)
        .map(|(n, site)| clients::start(world.api, site.name.clone(), Dice::player(plan.seed, n), &told, &clients_over))
        .collect();

    let mut storm = Storm::new(world, &told);
    storm.rage(&plan.steps);
    clients_over.store(true, Ordering::Release);
    storm.calm();
    let Storm { mut tally, mut findings, done, .. } = storm;
    for client in clients {
        client.join().unwrap();
    }
    if findings.is_empty() {
        findings.extend(quiet(world, &told));
    }
    tabs_end.lost.store(!findings.is_empty(), Ordering::Release);
    tabs_end.quiet.store(true, Ordering::Release);
    let reports: Vec<_> = tabs.into_iter().map(|tab| tab.join().unwrap()).collect();
    if findings.is_empty() {
        let accounts = accounts::gather(world, &told);
        findings.extend(accounts.iter().flat_map(examine).map(|finding| finding.to_string()));
        count(&accounts, &mut tally);
        let logs: BTreeMap<&str, &[Row]> = accounts.iter().map(|it| (it.id.as_str(), it.log.as_slice())).collect();
        for (number, report) in reports.iter().enumerate() {
            tally.deltas += report.deltas;
            findings.extend(report.findings.iter().map(|finding| format!("tab {number}: {finding}")));
            for (id, rows) in
                report.logs.iter().filter(|(id, rows)| logs.get(id.as_str()).is_some_and(|log| log != rows))
            {
                findings.push(format!(
                    "tab {number}: read {} records of {id}, the log has {}",
                    rows.len(),
                    logs[id.as_str()].len()
                ));
            }
        }
        findings.extend(nothing_left(world));
    }
    findings.extend(panics(world));
    Outcome { tally, findings, done }
}

/// Waits until every command is over and every host is there, and sees that each of them works.
fn quiet(world: &mut World, told: &Told) -> Vec<String> {
    let hosts: Vec<String> = world.sites.iter().map(|site| site.name.clone()).collect();
    world.waited(BACK_WITHIN, |world| hosts.iter().all(|host| is_online(world, host)));
    for host in &hosts {
        if !is_online(world, host) {
            world.fleet.stop_agent(host);
            world.fleet.start_agent(host);
        }
    }
    let mut findings = Vec::new();
    for host in &hosts {
        let idle = world.waited(QUIET_WITHIN, |world| {
            is_online(world, host) && host_of(world, host)["command"].is_null() && open_of(world, host).is_empty()
        });
        if !idle {
            findings.push(format!(
                "{host} does not come to rest; open: {:?}, host: {}",
                open_of(world, host),
                host_of(world, host)
            ));
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    // Each of them still does what it is asked to, and reaches the head.
    world.push();
    let head = world.fleet.repository.push("the last commit");
    for host in &hosts {
        let Some((202, command)) = world.api.post(&format!("/api/v1/hosts/{host}/ops/pull"), &json!({ "force": true }))
        else {
            findings.push(format!("{host} takes no pull when all is well: {}", host_of(world, host)));
            continue;
        };
        let id = command["id"].as_str().unwrap().to_owned();
        told.accepted.lock().unwrap().insert(id.clone(), host.clone());
        let mut last = Value::Null;
        world.waited(QUIET_WITHIN, |world| {
            last = world.api.get(&format!("/api/v1/commands/{id}")).map(|(_, command)| command).unwrap_or_default();
            !last["finished_at"].is_null()
        });
        if last["state"] != "SUCCESS" {
            findings.push(format!("the last pull on {host}: {last}"));
        }
        let there = world.waited(BACK_WITHIN, |world| host_of(world, host)["generation"] == head.as_str());
        if !there {
            findings.push(format!("{host} is not at the head {head}: {}", host_of(world, host)));
        }
        if !host_of(world, host)["broken"].is_null() {
            findings.push(format!("{host} is broken: {}", host_of(world, host)));
        }
    }
    match world.api.get("/readyz") {
        Some((200, ready)) if ready["quarantined"].as_array().is_none_or(Vec::is_empty) => {}
        ready => findings.push(format!("not everything makes progress: {ready:?}")),
    }
    findings
}

fn host_of(world: &World, host: &str) -> Value {
    world.api.get(&format!("/api/v1/hosts/{host}")).map(|(_, host)| host).unwrap_or_default()
}

fn is_online(world: &World, host: &str) -> bool {
    host_of(world, host)["state"] == "online"
}

fn open_of(world: &World, host: &str) -> Vec<String> {
    let all = accounts::commands(world.api, host).into_values();
    all.filter(|command| command["finished_at"].is_null()).map(|command| command.to_string()).collect()
}

/// Nothing runs but the daemon and the agents; they end when they are asked to; then nothing runs at all.
fn nothing_left(world: &mut World) -> Vec<String> {
    let mut findings = Vec::new();
    let alone = world.waited(BACK_WITHIN, |world| strangers(world).is_empty());
    if !alone {
        findings.push(format!("left running: {:?}", strangers(world)));
    }
    let ours = world.fleet.processes();
    let dead: Vec<String> =
        children(&ours).into_iter().filter(|(_, state)| state == "Z").map(|(name, _)| name).collect();
    if !dead.is_empty() {
        findings.push(format!("zombies: {dead:?}"));
    }
    for host in world.sites.iter().map(|site| site.name.clone()).collect::<Vec<_>>() {
        world.fleet.stop_agent(&host);
    }
    world.fleet.stop_daemon();
    if !world.waited(BACK_WITHIN, |world| strangers(world).is_empty()) {
        findings.push(format!("left running behind all: {:?}", strangers(world)));
    }
    findings
}

/// Processes of this round that are neither the daemon nor an agent, nor a git that one of them asks.
fn strangers(world: &World) -> Vec<String> {
    let ours: BTreeSet<u32> = world.fleet.processes().into_iter().collect();
    let mut pids = processes_in(world.fleet.dir());
    pids.extend(processes_in(world.dir.path()));
    let name = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
    };
    let all: BTreeSet<u32> = pids.into_iter().collect();
    all.difference(&ours).filter_map(|pid| name(pid).ok()).filter(|line| !line.contains("git")).collect()
}

/// The children of these processes, with their states.
fn children(parents: &[u32]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(") ") else { continue };
        let mut words = rest.split(' ');
        let (Some(state), Some(Ok(parent))) = (words.next(), words.next().map(str::parse::<u32>)) else { continue };
        if parents.contains(&parent) {
            found.push((name.to_owned(), state.to_owned()));
        }
    }
    found
}

/// No process ever panicked.
fn panics(world: &World) -> Vec<String> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(world.fleet.dir()).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        findings.extend(panics.map(|line| format!("{}: {line}", entry.file_name().display())));
    }
    findings
}

fn count(accounts: &[Account], tally: &mut Tally) {
    let state = |account: &Account| account.shown.as_ref().map_or(String::new(), |shown| shown.state.clone());
    for account in accounts.iter().filter(|account| state(account) != "BLOCKED") {
        tally.commands += 1;
        tally.lines += account.log.len() as u64;
        let kind = match state(account).as_str() {
            "SUCCESS" => 0,
            "ERROR" => 1,
            "KILLED" => 2,
            _ => 3,
        };
        tally.ends[kind] += 1;
    }
}
