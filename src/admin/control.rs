//! `control.sock` in the data directory, mode 0600: who may read the store's files may make tokens. One line of
//! JSON asks, one line answers.
//!
//! Who talks to it: `serve` starts [`serve`] beside the web server; the tools call `ask`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_model::event::NewEvent;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::{AdminError, system};
use crate::actors::access::{AccessHandle, TokenInfo, TokenRequest};
use crate::actors::hosts::HostsHandle;
use crate::actors::store::backup::{self, Export};
use crate::actors::store::check::Report;
use crate::actors::store::{Batch, LAST_BACKUP, StoreHandle, TokenKind, Write};

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
/// The socket's name until it is in place.
const ASIDE: &str = "control.sock.new";
/// How soon a socket that can't be made is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(10);
/// The longest line that is read.
const LINE: u64 = 64 * 1024;
/// How long a line may take, and an answer.
const WITHIN: Duration = Duration::from_secs(40);
/// How long what reads everything may take.
const LONG: Duration = Duration::from_mins(30);
/// How long a reader of a backup may not read.
const SLOW: Duration = Duration::from_mins(1);
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
    /// Make a backup. Its bytes follow on [`Reply::Stream`], to the end of the connection.
    Backup {
        /// With the output of commands.
        logs: bool,
    },
    /// Look at everything that is stored.
    Check,
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
    /// What was asked for follows.
    Stream,
    /// What was found.
    Checked(Box<Report>),
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
    Ok(begin(data_dir, request)?.map(|(reply, _)| reply))
}

/// Asks the running daemon for something large, and writes it to `out`. `false`: none runs.
pub(super) fn stream(data_dir: &Path, request: &Request, out: &mut impl io::Write) -> Result<bool, AdminError> {
    let Some((reply, mut socket)) = begin(data_dir, request)? else { return Ok(false) };
    match reply {
        Reply::Stream => {}
        Reply::Refused(why) => return Err(AdminError::Refused(why)),
        Reply::Made { .. } | Reply::Tokens(_) | Reply::Done | Reply::Checked(_) => return Err(nonsense()),
    }
    io::copy(&mut socket, out).map_err(system("what the daemon sends"))?;
    Ok(true)
}

fn nonsense() -> AdminError {
    AdminError::Refused("the daemon's answer makes no sense".to_owned())
}

/// Asks, and reads the first line of the answer.
fn begin(data_dir: &Path, request: &Request) -> Result<Option<(Reply, BufReader<UnixStream>)>, AdminError> {
    let shown = data_dir.join(SOCKET).display().to_string();
    let connected = Reach::of(data_dir).and_then(|reach| UnixStream::connect(reach.path().join(SOCKET)));
    let mut socket = match connected {
        Ok(socket) => socket,
        // No socket, or one that a daemon which was killed has left.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(system(shown)(error)),
    };
    let talk = || -> io::Result<(String, BufReader<UnixStream>)> {
        socket.set_read_timeout(Some(request.within()))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        socket.write_all(&line)?;
        let mut reader = BufReader::new(socket);
        let mut answer = String::new();
        reader.read_line(&mut answer)?;
        Ok((answer, reader))
    };
    let (answer, reader) = talk().map_err(system(shown))?;
    let reply = serde_json::from_str(&answer).map_err(|_| nonsense())?;
    Ok(Some((reply, reader)))
}

impl Request {
    /// How long the answer may take.
    fn within(&self) -> Duration {
        match self {
            Self::CreateToken(_) | Self::ListTokens | Self::RevokeToken { .. } => WITHIN,
            Self::Backup { .. } | Self::Check => LONG,
        }
    }
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Where the socket is, and the logs.
    pub data_dir: PathBuf,
    /// Tokens.
    pub access: AccessHandle,
    /// Hosts.
    pub hosts: HostsHandle,
    /// Records.
    pub store: StoreHandle,
}

/// The longest path of a socket that every system takes, in bytes; Linux takes 107, macOS 103.
const LONGEST: usize = 100;

/// The data directory by a name that is short enough for a socket in it.
struct Reach {
    path: PathBuf,
    /// What the name stands for, as long as the name is used.
    _folder: Option<std::fs::File>,
}

impl Reach {
    fn of(data_dir: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        use std::os::unix::ffi::OsStrExt as _;

        let longest = data_dir.join(ASIDE);
        if longest.as_os_str().as_bytes().len() <= LONGEST || !cfg!(target_os = "linux") {
            return Ok(Self { path: data_dir.to_owned(), _folder: None });
        }
        let folder = std::fs::File::open(data_dir)?;
        Ok(Self { path: PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())), _folder: Some(folder) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Answers until `stop` says so. Where there can be no socket now (a full disk), it is tried again: the daemon serves
/// all the same, and only its tools can't reach it.
pub async fn serve(doors: Doors, mut stop: watch::Receiver<bool>) {
    let mut said = false;
    let listener = loop {
        match bind(&doors.data_dir) {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    let path = doors.data_dir.join(SOCKET);
                    tracing::error!(path = %path.display(), %error, "no control socket: `nixfleet token`, `backup` and `check` can't reach this daemon; tried again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BIND_AGAIN) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    };
    if said {
        tracing::info!("the control socket is there");
    }
    answer_all(doors, listener, stop).await;
}

/// The socket is in place, with its mode, before anyone can reach it.
fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let reach = Reach::of(data_dir)?;
    let (path, aside) = (reach.path().join(SOCKET), reach.path().join(ASIDE));
    match std::fs::remove_file(&aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&aside)?;
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&aside, &path)?;
    Ok(listener)
}

async fn answer_all(doors: Doors, listener: UnixListener, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((socket, _)) => {
                let (doors, stop) = (doors.clone(), stop.clone());
                tokio::spawn(async move {
                    if let Err(error) = talk(socket, &doors, stop).await {
                        tracing::debug!(%error, "control.sock");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control.sock can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if let Err(error) = std::fs::remove_file(doors.data_dir.join(SOCKET)) {
        tracing::debug!(%error, "control.sock stays");
    }
}

async fn talk(mut socket: tokio::net::UnixStream, doors: &Doors, stop: watch::Receiver<bool>) -> io::Result<()> {
    let (reader, mut writer) = socket.split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(LINE));
    tokio::time::timeout(WITHIN, reader.read_line(&mut line)).await??;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Backup { logs }) => match doors.store.export(backup::head(logs)).await {
            Ok(export) => {
                send_backup(socket, export, doors.data_dir.clone(), stop).await?;
                note_backup(doors).await;
                return Ok(());
            }
            Err(error) => Reply::Refused(error.to_string()),
        },
        Ok(Request::Check) => match doors.store.check(doors.data_dir.clone()).await {
            Ok(report) => Reply::Checked(Box::new(report)),
            Err(error) => Reply::Refused(error.to_string()),
        },
        Ok(request @ (Request::CreateToken(_) | Request::ListTokens | Request::RevokeToken { .. })) => {
            answer(request, &doors.access, Some(&doors.hosts)).await
        }
        Err(error) => Reply::Refused(format!("the request makes no sense: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

/// Sends a backup, at the pace of who reads it. The end of the connection is no proof that it is whole: its own end is.
async fn send_backup(
    mut socket: tokio::net::UnixStream,
    export: Export,
    data_dir: PathBuf,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Reply::Stream)?;
    line.push(b'\n');
    socket.write_all(&line).await?;
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(SLOW))?;
    let sent = tokio::task::spawn_blocking(move || backup::write(export, &data_dir, UntilStop { out: socket, stop }));
    let totals = sent.await.map_err(io::Error::other)??;
    tracing::info!(records = totals.records, logs = totals.logs, bytes = totals.bytes, "backup made");
    Ok(())
}

/// The page says when the last backup was made.
async fn note_backup(doors: &Doors) {
    let now = Time::now();
    let setting = Write::PutSetting(LAST_BACKUP, now.millis().to_be_bytes().to_vec());
    let message = "A backup was made.".to_owned();
    let event = NewEvent::new(now, Category::Audit, Level::Success, "console", "backup_made", message);
    let batch = Batch { writes: vec![setting], events: vec![event], ..Batch::default() };
    if let Err(error) = doors.store.commit_once(batch).await {
        tracing::warn!(%error, "that a backup was made could not be written down");
    }
}

/// A daemon that stops waits for no reader of a backup.
struct UntilStop {
    out: UnixStream,
    stop: watch::Receiver<bool>,
}

impl io::Write for UntilStop {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.stop.borrow() {
            return Err(io::Error::other("the daemon stops"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Does what is asked of tokens. Without the hosts' actors the caller has made the host already.
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
        Request::Backup { .. } | Request::Check => Reply::Refused("that is no question about tokens".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_directory_with_a_long_name_has_a_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("a".repeat(120));
        for data_dir in [dir.path(), &long] {
            std::fs::create_dir_all(data_dir).unwrap();
            let listener = bind(data_dir).unwrap();
            let again = data_dir.to_owned();
            let asked = tokio::task::spawn_blocking(move || ask(&again, &Request::ListTokens));
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"\"done\"\n").await.unwrap();
            assert!(matches!(asked.await.unwrap(), Ok(Some(Reply::Done))));
            let mode = std::fs::metadata(data_dir.join(SOCKET)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
