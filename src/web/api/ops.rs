//! Ops: from a request to a command. What an op is stands in the registry; whether it may start now is decided by
//! the host's actor. Here is only the door: names become types, the scope is checked, the code is looked at once.

use futures_util::StreamExt as _;
use hyper::StatusCode;
use nixfleet_model::access::Scope;
use nixfleet_model::checks::TotpProof;
use nixfleet_model::ops::{self, spec};
use nixfleet_protocol::api::{Command, CommandState, OpRequest, Outcome};
use nixfleet_protocol::{HostId, Op};
use serde_json::{Map, Value};

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::{body, hosts};
use crate::actors::host::{Submit, Submitted};
use crate::actors::remote::Wanted;

/// Hosts that are asked at once: their commits share one flush.
const AT_ONCE: usize = 64;

/// How an op is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    args: Map<String, Value>,
    force: bool,
    totp: Option<String>,
}

/// The op of the path, if who asks may start it.
fn op(asked: &Asked) -> Result<Op, Refused> {
    let op: Op = asked.matched.text("op")?.parse()?;
    asked.caller.must(match spec(op).scope {
        ops::Scope::Operate => Scope::Operate,
        ops::Scope::Admin => Scope::Admin,
    })?;
    Ok(op)
}

fn wish(bytes: &[u8]) -> Result<(Wish, Option<Vec<String>>), Refused> {
    let OpRequest { args, force, totp, hosts } = body(bytes)?;
    let args = match args {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return Err(Refused::bad("args: expected an object."));
        }
    };
    Ok((Wish { args, force, totp }, hosts))
}

/// `POST /api/v1/hosts/{host}/ops/{op}`.
pub(in crate::web) async fn on_host(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let op = op(asked)?;
    let host: HostId = asked.matched.id("host")?;
    let (wish, hosts) = wish(bytes)?;
    if hosts.is_some() {
        return Err(Refused::bad("hosts: the address names the host already."));
    }
    hosts::find(app, &host).await?;
    let host = spec(op).per_host.then_some(host);
    accepted(&submit(app, asked, op, host, &wish).await?)
}

/// `POST /api/v1/ops/{op}`: one outcome for each host.
pub(in crate::web) async fn on_many(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let op = op(asked)?;
    let (wish, names) = wish(bytes)?;
    let mut hosts: Vec<Option<HostId>> = Vec::new();
    for name in names.unwrap_or_default() {
        let host = Some(name.parse::<HostId>()?);
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if !spec(op).per_host {
        if !hosts.is_empty() {
            return Err(Refused::bad(format!("hosts: {op} concerns no host.")));
        }
        hosts.push(None);
    } else if hosts.is_empty() {
        return Err(Refused::bad("hosts: name at least one host."));
    }
    // A code is good once, and is looked at once for all of them.
    let totp = prove(app, asked, op, &wish).await?;
    let wish = &wish;
    let outcomes: Vec<Outcome> = futures_util::stream::iter(hosts)
        .map(|host| async move {
            let submitted = submit_proven(app, asked, op, host.as_ref(), wish, totp).await;
            match submitted.and_then(|submitted| judge(host.as_ref(), submitted)) {
                Ok(command) => Outcome { host, command: Some(command), problem: None },
                Err(refused) => Outcome { host, command: None, problem: Some(refused.problem()) },
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let version = app.handles.sync.snapshot().await?.version;
    Answer::ok(&serde_json::json!({ "version": version, "outcomes": outcomes }))
}

/// `POST /api/v1/remote/refresh`: the op `refresh-git`.
pub(in crate::web) async fn refresh_remote(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    accepted(&submit(app, asked, Op::RefreshGit, None, &Wish::default()).await?)
}

/// Starts an op, on a host or on none.
pub(super) async fn submit(
    app: &App,
    asked: &Asked,
    op: Op,
    host: Option<HostId>,
    wish: &Wish,
) -> Result<Command, Refused> {
    let totp = prove(app, asked, op, wish).await?;
    let submitted = submit_proven(app, asked, op, host.as_ref(), wish, totp).await?;
    judge(host.as_ref(), submitted)
}

/// 202 with the command itself.
pub(super) fn accepted(command: &Command) -> Result<Answer, Refused> {
    Answer::json(StatusCode::ACCEPTED, command)
}

/// Where an op needs a code it is looked at; elsewhere a code is not used up.
async fn prove(app: &App, asked: &Asked, op: Op, wish: &Wish) -> Result<TotpProof, Refused> {
    if !spec(op).totp {
        return Ok(TotpProof::NotGiven);
    }
    Ok(app.handles.access.prove_totp(wish.totp.clone(), asked.client.address).await?)
}

async fn submit_proven(
    app: &App,
    asked: &Asked,
    op: Op,
    host: Option<&HostId>,
    wish: &Wish,
    totp: TotpProof,
) -> Result<Submitted, Refused> {
    let actor = asked.caller.actor();
    let Some(host) = host else {
        let wanted = Wanted { args: wish.args.clone(), force: wish.force, ..Wanted::new(op, actor) };
        return Ok(app.handles.remote.submit(wanted).await);
    };
    let request = Submit { args: wish.args.clone(), force: wish.force, totp, ..Submit::new(op, actor) };
    let submitted = app.handles.hosts.submit(host.clone(), request).await;
    if let Submitted::Accepted(command) = &submitted
        && (op, command.state) == (Op::Remove, CommandState::Success)
        && !app.handles.access.host_removed(host.clone())
    {
        tracing::warn!("access is being restarted: it forgets the tokens of the removed host then");
    }
    Ok(submitted)
}

fn judge(host: Option<&HostId>, submitted: Submitted) -> Result<Command, Refused> {
    match submitted {
        Submitted::Accepted(command) => Ok(*command),
        Submitted::Blocked(command, refusal) => Err(Refused::by_check(refusal, Some(command.id))),
        Submitted::NotNow(refusal) => Err(Refused::by_check(refusal, None)),
        Submitted::NoSuchHost => Err(host.map_or_else(Refused::no_such_path, Refused::no_such_host)),
        Submitted::Unavailable(why) => Err(Refused::unavailable(why)),
        Submitted::Late { id, why } => Err(Refused { command_id: Some(id), ..Refused::unavailable(why) }),
    }
}
