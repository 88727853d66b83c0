//! `/ws`: the door for agents, tabs and API clients. Who comes is known before the upgrade; after it the socket
//! belongs to `links` or `sessions`.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nixfleet_protocol::browser::Resume;
use nixfleet_protocol::{Epoch, MAX_MESSAGE, Version};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::answer::Answer;
use super::auth::Caller;
use super::pages;
use super::problem::Refused;
use super::{App, Query};
use crate::actors::links::link::{Io, Socket};
use crate::actors::links::{AgentIdentity, LinksHandle, OwnTokens};
use crate::actors::sessions::{SessionsHandle, Viewer};
use crate::actors::sync::View;

/// Idle sockets are many: buffers start small (the defaults cost 139 KiB for each socket, these 4). A heartbeat fits;
/// what is longer gets its own room for as long as it is read.
const READ_BUFFER: usize = 1024;
/// What may wait for a slow agent inside the socket; the outbox before it is bounded too.
const WRITE_BUFFER: usize = 4 * MAX_MESSAGE;
/// The same for a tab. A frame must fit into it, and the state of a large fleet is one frame: no bound of ours, but
/// one against what a client makes us say.
const WRITE_BUFFER_OF_TABS: usize = 256 * 1024 * 1024;

/// To whom the socket goes.
enum To {
    Links(LinksHandle, AgentIdentity, OwnTokens),
    Sessions(SessionsHandle, View, Option<Resume>, Viewer),
}

/// `GET /ws`.
pub(super) async fn upgrade(app: &App, mut request: Request<Incoming>, caller: Caller) -> Result<Answer, Refused> {
    let query = Query::parse(request.uri().query());
    let key = handshake(request.headers())?;
    let to = match caller {
        Caller::Agent(identity) => {
            let own = app.handles.access.own_tokens().await?;
            To::Links(app.handles.links.clone(), identity, own)
        }
        Caller::Person { id, .. } => tab(app, &query, Viewer::Session(id))?,
        Caller::Api { token, .. } => tab(app, &query, Viewer::Token(token))?,
        Caller::Enrol { .. } | Caller::Nobody => return Err(Refused::no_login()),
    };
    tokio::spawn(hand_over(hyper::upgrade::on(&mut request), to));
    let mut answer = Answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    answer.set(header::CONNECTION, "upgrade");
    answer.set(header::UPGRADE, "websocket");
    answer.set_text(header::SEC_WEBSOCKET_ACCEPT, &key);
    Ok(answer)
}

fn tab(app: &App, query: &Query, who: Viewer) -> Result<To, Refused> {
    let view = match query.get("view") {
        None | Some("json") => View::Json,
        Some("html") => {
            let page = query.get("page").unwrap_or("fleet");
            View::Html(pages::PageKind::parse(page).ok_or_else(|| Refused::bad("page: there is no such page."))?)
        }
        Some(_) => return Err(Refused::bad("view: expected json or html.")),
    };
    let epoch = query.read::<Epoch>("epoch")?;
    let version = query.read::<u64>("version")?.map(Version);
    let resume = epoch.zip(version).map(|(epoch, version)| Resume { epoch, version });
    Ok(To::Sessions(app.handles.sessions.clone(), view, resume, who))
}

/// The handshake of RFC 6455, our half of it: the accept key.
fn handshake(headers: &HeaderMap) -> Result<String, Refused> {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "This address speaks WebSocket."));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Refused::bad("Sec-WebSocket-Version: expected 13."));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    key.map(|key| derive_accept_key(key.as_bytes())).ok_or_else(|| Refused::bad("Sec-WebSocket-Key: missing or bad."))
}

async fn hand_over(upgraded: OnUpgrade, to: To) {
    let io: Box<dyn Io> = match upgraded.await {
        Ok(upgraded) => Box::new(TokioIo::new(upgraded)),
        Err(error) => return tracing::debug!(%error, "the upgrade did not come to pass"),
    };
    let write_buffer = match &to {
        To::Links(..) => WRITE_BUFFER,
        To::Sessions(..) => WRITE_BUFFER_OF_TABS,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(write_buffer)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket: Socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let taken = match to {
        To::Links(links, who, own) => links.accept(socket, who, own),
        To::Sessions(sessions, view, resume, who) => sessions.open(socket, view, resume, who),
    };
    if !taken {
        tracing::info!("a socket came while its actor was away; it will come again");
    }
}
