//! Gathers the ledger: what the API, the hosts' disks and the witness say, for every command that anybody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nixfleet_protocol::log::Record;
use serde_json::Value;

use crate::api::Api;
use crate::ledger::{Account, Excuse, Row, Shown};
use crate::told::Told;
use crate::witness;
use crate::world::World;

/// As much as the API gives at once.
const PAGE: usize = 500;

/// One account for each command of the hosts.
pub(crate) fn gather(world: &World, told: &Told) -> Vec<Account> {
    let events = events(world.api);
    let accepted = told.accepted.lock().unwrap().clone();
    let stop_asked = told.stop_asked.lock().unwrap().clone();
    let runners_killed = told.runners_killed.lock().unwrap().clone();
    let full = told.full.lock().unwrap().clone();
    let mut accounts = Vec::new();
    for site in &world.sites {
        let host = &site.name;
        let witness = witness::read(&world.witness_of(host));
        let shown = commands(world.api, host);
        let of_host = accepted.iter().filter(|(_, of)| *of == host).map(|(id, _)| id);
        let ids: BTreeSet<&String> = shown.keys().chain(witness.keys()).chain(of_host).collect();
        for id in ids {
            let command = shown.get(id);
            let text = |name: &str| command.and_then(|it| it[name].as_str()).unwrap_or_default().to_owned();
            let op = text("op");
            if op == "set-color" {
                continue;
            }
            accounts.push(Account {
                id: id.clone(),
                host: host.clone(),
                op,
                accepted: accepted.contains_key(id),
                excuses: [
                    (stop_asked.contains(id), Excuse::StopAsked),
                    (runners_killed.contains(id), Excuse::RunnerKilled),
                    (full.contains(host), Excuse::DiskWasFull),
                ]
                .into_iter()
                .filter_map(|(has, excuse)| has.then_some(excuse))
                .collect(),
                shown: command.map(|command| Shown {
                    state: text("state"),
                    exit_code: command["exit_code"].as_i64(),
                    message: text("message"),
                    over: !command["finished_at"].is_null(),
                }),
                log: log(world.api, id),
                journal: journal(world, host, id),
                witness: witness.get(id).cloned().unwrap_or_default(),
                events: events.get(id).copied().unwrap_or_default(),
            });
        }
    }
    accounts
}

/// Everything from a list of the API, page by page.
fn pages(api: Api, path: &str, list: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let before = all
            .last()
            .map_or(String::new(), |oldest| format!("&before={}", oldest["id"].to_string().trim_matches('"')));
        let (status, mut answer) = api.get(&format!("{path}limit={PAGE}{before}")).expect("the API answers");
        assert_eq!(status, 200, "{path}: {answer}");
        let Value::Array(page) = answer[list].take() else { panic!("no list of {list}: {answer}") };
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

/// All commands of a host, by id.
pub(crate) fn commands(api: Api, host: &str) -> BTreeMap<String, Value> {
    let all = pages(api, &format!("/api/v1/commands?host={host}&"), "commands");
    all.into_iter().map(|command| (command["id"].as_str().unwrap().to_owned(), command)).collect()
}

/// How many events tell of the start and of the end of each command.
fn events(api: Api) -> BTreeMap<String, (u32, u32)> {
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for event in pages(api, "/api/v1/events?", "events") {
        let Some(id) = event["details"]["command_id"].as_str() else { continue };
        let count = counts.entry(id.to_owned()).or_default();
        match event["action"].as_str().unwrap() {
            "command_started" => count.0 += 1,
            "command_finished" => count.1 += 1,
            _ => {}
        }
    }
    counts
}

/// A command's log at the dashboard.
pub(crate) fn log(api: Api, id: &str) -> Vec<Row> {
    let Some((200, text)) = api.text("GET", &format!("/api/v1/commands/{id}/log?from=0"), None) else {
        return Vec::new();
    };
    text.lines().map(|line| row(&serde_json::from_str(line).unwrap())).collect()
}

/// A line object of the API or of a `log` frame.
pub(crate) fn row(line: &Value) -> Row {
    Row {
        offset: line["offset"].as_u64().unwrap(),
        end: line["end"].as_u64().unwrap(),
        stream: line["stream"].as_str().unwrap().to_owned(),
        text: line["line"].as_str().unwrap().to_owned(),
    }
}

/// A command's log as its host has it.
fn journal(world: &World, host: &str, id: &str) -> Option<Vec<Row>> {
    let bytes = fs::read(world.commands_of(host).join(id).join("output.log")).ok()?;
    let mut rows = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (record, length) = Record::decode(&bytes[at..]).expect("the host's log has whole records");
        let offset = at as u64;
        let end = record.end(offset, length);
        let stream = serde_json::to_value(record.stream).unwrap().as_str().unwrap().to_owned();
        rows.push(Row { offset, end, stream, text: record.text });
        at = usize::try_from(end).unwrap();
    }
    Some(rows)
}
