//! A web server with the actors that it needs for itself, and a client that hides nothing.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::Server;

use crate::actors::access::{self, Access, Ended, NewToken, Settings};
use crate::actors::handles::{Handles, Slots};
use crate::actors::store::{self, Scope, TokenKind};
use crate::actors::{links, sessions, sync};
use crate::config::{AccessConfig, Network, Secret, WebConfig};
use crate::web::render::Pages;
use crate::web::{App, server};

pub(super) const PASSWORD: &str = "correct horse";
pub(super) const TOTP: &[u8] = b"12345678901234567890";
pub(super) const ADMIN: &str = "the-admin-token-of-the-tests";
pub(super) const SHARED: &str = "the-shared-agent-token-of-the-tests";
pub(super) const WEBHOOK: &str = "the-secret-of-the-webhook";

/// How a server is wanted.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) totp: bool,
    pub(super) trusted: Vec<Network>,
    pub(super) base_url: Option<&'static str>,
    pub(super) limits: server::Limits,
    pub(super) session: Option<Duration>,
}

pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) handles: Handles,
    pub(super) ended: Arc<Mutex<Vec<Ended>>>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) serving: Option<tokio::task::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) cookies: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `name=value` of a cookie that was set.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        let set = self.cookies.iter().find(|cookie| cookie.starts_with(&format!("{name}=")))?;
        Some(set.split(';').next()?.to_owned())
    }
}

/// A logged-in browser.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    pub(super) cookie: String,
    pub(super) csrf: String,
}

async fn seat<A: Actor>(actor: A, args: A::Arguments, slot: &crate::actors::slot::Slot<A::Msg>) -> ActorRef<A::Msg> {
    let (actor, _) = Actor::spawn(None, actor, args).await.unwrap();
    slot.seat(actor.clone());
    actor
}

pub(super) async fn serve(wanted: Wanted) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::default();
    let handles = Handles::new(&slots);
    let publish = handles.sync.clone();
    let store = store::Args {
        dir: dir.path().to_owned(),
        publish: Box::new(move |changes| publish.publish(changes)),
        on_health: Box::new(|_| {}),
    };
    seat(store::Store, store, &slots.store).await;
    let sync = sync::Args {
        store: handles.store.clone(),
        render: Arc::new(Pages::default()),
        server: Server {
            version: "0".to_owned(),
            started_at: Time::now(),
            store_error: None,
            shared_agent_token: true,
        },
        beacon: Duration::from_secs(30),
        news: Arc::default(),
        seat: slots.sync.clone(),
    };
    seat(sync::Sync, sync, &slots.sync).await;
    let ended = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ended);
    let tabs = handles.sessions.clone();
    let access = access::Args {
        settings: Settings::new(AccessConfig {
            password_hash: Secret::new(bcrypt::hash(PASSWORD, 4).unwrap()),
            totp_secret: wanted.totp.then(|| TOTP.to_vec()),
            session_secrets: Vec::new(),
            session_duration: wanted.session.unwrap_or(Duration::from_hours(1)),
            agent_token: Some(Secret::new(SHARED)),
            admin_token: Some(Secret::new(ADMIN)),
        }),
        store: handles.store.clone(),
        ended: Arc::new(move |over| {
            if let Ended::Viewer(viewer) = &over {
                tabs.close(viewer.clone());
            }
            told.lock().unwrap().push(over);
        }),
    };
    seat(Access, access, &slots.access).await;
    let tabs = sessions::Args {
        sync: handles.sync.clone(),
        hosts: handles.hosts.clone(),
        store: handles.store.clone(),
        data_dir: dir.path().to_owned(),
        render: Arc::new(Pages::default()),
    };
    seat(sessions::Sessions, tabs, &slots.sessions).await;
    let links = links::Args { hosts: slots.hosts.clone(), store: handles.store.clone() };
    seat(links::Links, links, &slots.links).await;

    let web = WebConfig {
        base_url: wanted.base_url.map(|url| url.parse().unwrap()),
        allowed_origins: Vec::new(),
        trusted_proxies: wanted.trusted,
        tls: None,
        github_webhook_secret: Some(Secret::new(WEBHOOK)),
    };
    let secret = Secret::new("0123456789abcdef0123456789abcdef");
    let app = App::new(handles.clone(), web, &secret, &[], wanted.totp, dir.path().to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving =
        Some(tokio::spawn(server::serve(listener, Arc::new(app), None, wanted.limits, Handle::current(), stopped)));
    Served { address, handles, ended, stop, serving, dir }
}

impl Served {
    pub(super) fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let _ = write!(text, "Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.raw(text.as_bytes()).await
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("GET", path, headers, "").await
    }

    pub(super) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        // The other end may have answered and closed before it read all.
        let _ = socket.write_all(bytes).await;
        let mut all = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut all)).await;
        parse(&all)
    }

    pub(super) async fn token(&self, kind: TokenKind) -> String {
        let new = NewToken { kind, name: "test".to_owned(), lasts: None, by: "test".to_owned() };
        let made = self.handles.access.create_token(new).await.map_err(|error| error.to_string()).unwrap();
        made.token.expose().to_owned()
    }

    pub(super) async fn api(&self, scope: Scope) -> String {
        self.token(TokenKind::Api(vec![scope])).await
    }

    /// The login form: its cookie and its token.
    pub(super) async fn form(&self) -> (String, String) {
        let page = self.get("/login", &[]).await;
        assert_eq!(page.status, 200);
        let token = between(&page.text(), "name=\"csrf_token\" value=\"", "\"");
        (page.cookie("nixfleet_login").unwrap(), token)
    }

    pub(super) async fn try_login(&self, password: &str, totp: &str, more: &[(&str, &str)]) -> Reply {
        let (cookie, token) = self.form().await;
        let origin = self.origin();
        let body: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("password", password)
            .append_pair("totp", totp)
            .append_pair("csrf_token", &token)
            .finish();
        let mut headers = vec![("Cookie", cookie.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        if !more.iter().any(|(name, _)| *name == "Origin") {
            headers.push(("Origin", &origin));
        }
        headers.extend(more);
        self.ask("POST", "/login", &headers, &body).await
    }

    pub(super) async fn login(&self) -> Browser {
        let reply = self.try_login(PASSWORD, "", &[]).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let cookie = reply.cookie("nixfleet_session").unwrap();
        let page = self.get("/", &[("Cookie", &cookie)]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        Browser { csrf: between(&page.text(), "name=\"csrf-token\" content=\"", "\""), cookie }
    }
}

pub(super) fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}

fn parse(all: &[u8]) -> Reply {
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
    let text = String::from_utf8_lossy(&all[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let mut headers = HashMap::new();
    let mut cookies = Vec::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("set-cookie") {
            cookies.push(value.to_owned());
        } else {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let body = all.get(head + 4..).unwrap_or_default().to_vec();
    Reply { status, headers, cookies, body }
}
