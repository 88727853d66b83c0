//! `nixfleet token`: makes, lists and ends tokens, with the daemon running or without.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand};
use nixfleet_model::event::NewEvent;
use nixfleet_model::host::HostRecord;
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{HostId, Time};
use ractor::Actor;

use super::control::{self, ACTOR, Reply, Request};
use super::{AdminError, DataDir, alone};
use crate::actors::access::{self, Access, AccessHandle, Kind, Settings, TokenRequest};
use crate::actors::slot::Slot;
use crate::actors::store::{Batch, StoreHandle, Write};
use crate::cli::output;

/// `nixfleet token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: DataDir,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token for a host's agent. A host that is not known is made.
    Host {
        /// The host's name.
        name: String,
        /// Seconds until it ends [default: never].
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Make a token for the API.
    Api {
        /// Its name; commands and events tell it.
        name: String,
        /// What it may do.
        #[arg(long, value_delimiter = ',', default_value = "read", value_name = "read,operate,admin,metrics")]
        scope: Vec<String>,
        /// Seconds until it ends [default: never].
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Make a token that a new machine exchanges, once, for its own.
    Enrol {
        /// Seconds until it ends [default: a day].
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// List the tokens, without their secrets.
    List,
    /// End a token; its sockets are closed.
    Revoke {
        /// Its id.
        id: String,
    },
}

impl Command {
    fn request(self) -> Request {
        let create = |kind, host, name, scopes, expires_in_s| {
            Request::CreateToken(TokenRequest { kind, host, name, scopes, expires_in_s })
        };
        match self {
            Self::Host { name, expires } => create(Kind::Host, Some(name), None, None, expires),
            Self::Api { name, scope, expires } => create(Kind::Api, None, Some(name), Some(scope), expires),
            Self::Enrol { expires } => create(Kind::Enrol, None, None, None, expires),
            Self::List => Request::ListTokens,
            Self::Revoke { id } => Request::RevokeToken { id },
        }
    }
}

/// Runs it. Writes the token, and nothing else, to standard output.
pub async fn run(args: TokenArgs) -> Result<(), AdminError> {
    let dir = args.place.find()?;
    let request = args.command.request();
    let reply = match control::ask(&dir, &request)? {
        Some(reply) => reply,
        None => without_daemon(&dir, request).await?,
    };
    match reply {
        Reply::Made { id, token } => {
            output::line(&token);
            output::note(&format!("Token {id} was made. It is shown this once."));
        }
        Reply::Tokens(tokens) => {
            for token in tokens {
                let used = token.last_used.map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
                let ends = token.expires_at.map_or_else(String::new, |at| format!(", ends {at}"));
                output::line(&format!("{}  {:5}  {}  ({used}{ends})", token.id, token.kind, token.name));
            }
        }
        Reply::Done => output::note("The token was ended."),
        Reply::Stream | Reply::Checked(_) => {
            return Err(AdminError::Refused("the daemon's answer makes no sense".to_owned()));
        }
        Reply::Refused(why) => return Err(AdminError::Refused(why)),
    }
    Ok(())
}

/// Without a daemon: the store is opened here, and closed again.
async fn without_daemon(dir: &Path, request: Request) -> Result<Reply, AdminError> {
    let opened = alone::open_or_make(dir).await?;
    let store = opened.handle.clone();
    let slot = Slot::new("access");
    let args = access::Args { settings: Settings::tokens_only(), store: store.clone(), ended: Arc::new(|_| {}) };
    let (access_actor, _) = Actor::spawn(None, Access, args).await?;
    slot.seat(access_actor.clone());
    let made = match &request {
        Request::CreateToken(TokenRequest { kind: Kind::Host, host: Some(name), .. }) => make_host(&store, name).await,
        Request::CreateToken(_)
        | Request::ListTokens
        | Request::RevokeToken { .. }
        | Request::Backup { .. }
        | Request::Check => Ok(()),
    };
    let reply = match made {
        Ok(()) => control::answer(request, &AccessHandle::new(slot), None).await,
        Err(why) => Reply::Refused(why),
    };
    if access_actor.stop_and_wait(None, None).await.is_err() {
        output::note("the actor of the tokens did not end in order; nothing is lost");
    }
    opened.close().await;
    Ok(reply)
}

/// A host that is not known is made, as the daemon would.
async fn make_host(store: &StoreHandle, name: &str) -> Result<(), String> {
    let host: HostId = name.parse().map_err(|error| format!("{error}"))?;
    if store.load_host(host.clone()).await.map_err(|error| error.to_string())?.is_some() {
        return Ok(());
    }
    let now = Time::now();
    let event = NewEvent::new(now, Category::Audit, Level::Info, ACTOR, "host_created", format!("{host} was made."));
    let record = HostRecord::new(host.clone(), now);
    let batch =
        Batch { writes: vec![Write::PutHost(Box::new(record))], events: vec![event.on(host)], changes: Vec::new() };
    store.commit_once(batch).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::store;

    fn host(name: &str) -> Request {
        Command::Host { name: name.to_owned(), expires: None }.request()
    }

    #[tokio::test]
    async fn without_a_daemon_the_store_is_opened_and_the_host_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(control::ask(dir.path(), &host("hsb0")).unwrap().is_none());
        let Reply::Made { id, token } = without_daemon(dir.path(), host("HSB0")).await.unwrap() else {
            panic!("not made")
        };
        assert!(token.starts_with("nfh_"));
        let Reply::Tokens(tokens) = without_daemon(dir.path(), Request::ListTokens).await.unwrap() else {
            panic!("no list")
        };
        assert_eq!((tokens[0].id.as_str(), tokens[0].name.as_str()), (id.as_str(), "hsb0"));
        assert!(matches!(without_daemon(dir.path(), Request::RevokeToken { id }).await.unwrap(), Reply::Done));
        assert!(matches!(without_daemon(dir.path(), host("not a name")).await.unwrap(), Reply::Refused(_)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_daemon_is_asked_through_its_socket() {
        use crate::actors::hosts::HostsHandle;
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let (store_slot, slot) = (Slot::new("store"), Slot::new("access"));
        let args = store::Args { dir: dir.path().to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
        store_slot.seat(Actor::spawn(None, store::Store, args).await.unwrap().0);
        let store = StoreHandle::new(store_slot);
        let args = access::Args { settings: Settings::tokens_only(), store: store.clone(), ended: Arc::new(|_| {}) };
        slot.seat(Actor::spawn(None, Access, args).await.unwrap().0);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let hosts = HostsHandle::new(Slot::new("hosts"));
        let doors = control::Doors { data_dir: dir.path().to_owned(), access: AccessHandle::new(slot), hosts, store };
        let serving = control::serve(doors, stopped);
        let serving = tokio::spawn(serving);
        let socket = dir.path().join(control::SOCKET);
        while !socket.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let api = Command::Api { name: "cli".to_owned(), scope: vec!["read".to_owned()], expires: None }.request();
        let path = dir.path().to_owned();
        let reply = tokio::task::spawn_blocking(move || control::ask(&path, &api)).await.unwrap().unwrap();
        assert!(matches!(reply, Some(Reply::Made { token, .. }) if token.starts_with("nfa_")));
        stop.send_replace(true);
        serving.await.unwrap();
        assert!(!socket.exists());
    }
}
