//! `control.sock` in the data directory, mode 0600: who may read the store's files may make tokens. One line of
//! JSON asks, one line answers.
//!
//! Who talks to it: `serve` starts [`serve`] beside the web server; the tools call `ask`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::{AdminError, system};
use crate::actors::access::{AccessHandle, TokenInfo, TokenRequest};
use crate::actors::hosts::HostsHandle;
use crate::actors::store::TokenKind;

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
/// The longest line that is read.
const LINE: u64 = 64 * 1024;
/// How long a line may take, and an answer.
const WITHIN: Duration = Duration::from_secs(40);
/// Who asks, as events tell it.
pub(super) const ACTOR: &str = "console";

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make a token.
    CreateToken(TokenRequest),
    /// The tokens.
    ListTokens,
    /// End a token.
    RevokeToken {
        /// Its id.
        id: String,
    },
}

/// What is answered. Not `Debug`: a token may be in it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The token, this once.
    Made {
        /// Its id.
        id: String,
        /// Itself.
        token: String,
    },
    /// The tokens.
    Tokens(Vec<ListedToken>),
    /// It is done.
    Done,
    /// It is not done.
    Refused(String),
}

/// A token as the tools show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedToken {
    /// Its id.
    pub id: String,
    /// `host`, `api` or `enrol`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When it was last used.
    pub last_used: Option<nixfleet_protocol::Time>,
    /// When it ends.
    pub expires_at: Option<nixfleet_protocol::Time>,
}

impl From<TokenInfo> for ListedToken {
    fn from(info: TokenInfo) -> Self {
        let TokenInfo { id, kind, name, last_used, expires_at, .. } = info;
        Self { id, kind: kind.to_owned(), name, last_used, expires_at }
    }
}

/// Asks the running daemon. Nothing: none runs.
pub(super) fn ask(data_dir: &Path, request: &Request) -> Result<Option<Reply>, AdminError> {
    let path = data_dir.join(SOCKET);
    let shown = path.display().to_string();
    let mut socket = match UnixStream::connect(&path) {
        Ok(socket) => socket,
        // No socket, or one that a daemon which was killed has left.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(system(shown)(error)),
    };
    let mut talk = || -> io::Result<String> {
        socket.set_read_timeout(Some(WITHIN))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        socket.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(&socket).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = talk().map_err(system(shown))?;
    serde_json::from_str(&answer)
        .map(Some)
        .map_err(|_| AdminError::Refused("the daemon's answer makes no sense".into()))
}

/// Answers until `stop` says so. The socket is in place, with its mode, before anyone can reach it.
pub async fn serve(
    data_dir: PathBuf,
    access: AccessHandle,
    hosts: HostsHandle,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let (path, aside) = (data_dir.join(SOCKET), data_dir.join(format!("{SOCKET}.new")));
    if aside.exists() {
        std::fs::remove_file(&aside)?;
    }
    let listener = UnixListener::bind(&aside)?;
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&aside, &path)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((socket, _)) => {
                let (access, hosts) = (access.clone(), hosts.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(WITHIN, talk(socket, &access, &hosts)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "control.sock"),
                        Err(_) => tracing::debug!("control.sock: too slow"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control.sock can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    std::fs::remove_file(&path)
}

async fn talk(mut socket: tokio::net::UnixStream, access: &AccessHandle, hosts: &HostsHandle) -> io::Result<()> {
    let (reader, mut writer) = socket.split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(LINE)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => answer(request, access, Some(hosts)).await,
        Err(error) => Reply::Refused(format!("the request makes no sense: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

/// Does what is asked. Without the hosts' actors the caller has made the host already.
pub(super) async fn answer(request: Request, access: &AccessHandle, hosts: Option<&HostsHandle>) -> Reply {
    match request {
        Request::CreateToken(wanted) => {
            let new = match wanted.read(ACTOR.to_owned()) {
                Ok(new) => new,
                Err(why) => return Reply::Refused(why),
            };
            if let (TokenKind::Host(host), Some(hosts)) = (&new.kind, hosts)
                && let Err(error) = hosts.create(host.clone(), ACTOR.to_owned()).await
            {
                return Reply::Refused(error.to_string());
            }
            match access.create_token(new).await {
                Ok(made) => Reply::Made { id: made.info.id, token: made.token.expose().to_owned() },
                Err(error) => Reply::Refused(error.to_string()),
            }
        }
        Request::ListTokens => match access.list().await {
            Ok(tokens) => Reply::Tokens(tokens.into_iter().map(ListedToken::from).collect()),
            Err(error) => Reply::Refused(error.to_string()),
        },
        Request::RevokeToken { id } => match access.revoke(id.clone(), ACTOR.to_owned()).await {
            Ok(true) => Reply::Done,
            Ok(false) => Reply::Refused(format!("there is no token {id}")),
            Err(error) => Reply::Refused(error.to_string()),
        },
    }
}
