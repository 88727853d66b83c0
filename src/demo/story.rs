//! What has happened in the demo's fleet before the page opens. All of it is real: ops through the API, run by
//! the agents.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{self, Command, CommandState, Host as HostView};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hosts::{Host, Role};
use super::repository::Repository;
use crate::cli::client::{Client, ClientError};
use crate::cli::output::note;

/// So many hosts deploy at the same time: a machine with two cores has enough of it.
const SIDE_BY_SIDE: usize = 8;
/// How long one op may take.
const OP: Duration = Duration::from_mins(2);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the token of a host's agent.
pub(super) async fn token(client: &Client, host: &str) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Made {
        token: String,
    }
    let made: Made = client.post("/api/v1/tokens", &json!({ "kind": "host", "host": host, "name": host })).await?;
    Ok(made.token)
}

/// Waits until the daemon is ready.
pub(super) async fn ready(client: &Client, within: Duration) -> bool {
    let end = Instant::now() + within;
    while Instant::now() < end {
        if client.status("/readyz").await.is_ok_and(|status| status.is_success()) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// Waits until every host has registered and has its checkout.
pub(super) async fn arrived(client: &Client, hosts: &[Host], within: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + within;
    for host in hosts {
        loop {
            let view: Result<HostView, ClientError> = client.get(&format!("/api/v1/hosts/{}", host.name)).await;
            if view.is_ok_and(|view| view.state == api::HostState::Online && view.generation.is_some()) {
                break;
            }
            if Instant::now() > end {
                bail!("{} did not come; its log is logs/{}.log in the demo's folder", host.name, host.name);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Every host deploys the first configuration; then the update is pushed, and some deploy that.
pub(super) async fn tell(client: &Client, hosts: &[Host], repository: &Repository) -> anyhow::Result<()> {
    each(client, hosts, |_| &[Op::Switch, Op::Test]).await;
    let update = repository.update(hosts).await?;
    note("an update was pushed to the repository");
    each(client, hosts, |host| match host.role {
        Role::Current | Role::TestsFail => &[Op::Pull, Op::Switch, Op::Test],
        Role::SwitchFails => &[Op::Pull, Op::Switch],
        Role::Behind => &[],
    })
    .await;
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let remote: api::Remote = client.get("/api/v1/remote").await?;
        if remote.commit.is_some_and(|head| head.as_str() == update) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    note("the daemon has not seen the update yet");
    Ok(())
}

async fn each(client: &Client, hosts: &[Host], ops: impl Fn(&Host) -> &'static [Op]) {
    let slots = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut tasks = JoinSet::new();
    for host in hosts {
        let (ops, host, client, slots) = (ops(host), host.clone(), client.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let Ok(_slot) = slots.acquire().await else { return };
            for op in ops {
                if !step(&client, &host, *op).await {
                    return;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// One op of one host. What fails on purpose is no news.
async fn step(client: &Client, host: &Host, op: Op) -> bool {
    let meant = match (op, host.role) {
        (Op::Test, Role::TestsFail) | (Op::Switch, Role::SwitchFails) => true,
        (_, Role::Current | Role::Behind | Role::TestsFail | Role::SwitchFails) => false,
    };
    match run(client, &host.name, op).await {
        Ok(command) if command.state == CommandState::Success => true,
        Ok(_) if meant => false,
        Ok(command) => {
            let why = command.message.unwrap_or_default();
            note(&format!("{op} on {} ended as {:?}: {why}", host.name, command.state));
            false
        }
        Err(error) => {
            note(&format!("{op} on {}: {error}", host.name));
            false
        }
    }
}

async fn run(client: &Client, host: &str, op: Op) -> anyhow::Result<Command> {
    let end = Instant::now() + OP;
    let started: Command = loop {
        match client.post(&format!("/api/v1/hosts/{host}/ops/{op}"), &json!({})).await {
            Ok(command) => break command,
            // The command before has ended, but the agent has not said yet that it is idle.
            Err(ClientError::Problem(problem))
                if problem.code.as_deref() == Some("host_busy") && Instant::now() < end =>
            {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    while Instant::now() < end {
        let command: Command = client.get(&format!("/api/v1/commands/{}", started.id)).await?;
        if command.state.is_final() {
            return Ok(command);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("it did not end within {} s", OP.as_secs())
}
