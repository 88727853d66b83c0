//! The listener: accepts connections within bounds, speaks HTTP/1 on them, ends with grace.
//!
//! ```text
//! accept ── Admission (a place, or 503) ──→ one task for each connection: hyper ──→ App::answer
//!                 ▲                              │ who asked is known → a place among the known
//!                 └────────── the place is given back with the connection (also when it became a WebSocket)
//! ```
//!
//! A connection that fails takes nobody along. Opened last, closed first: the caller sees to it.

mod admission;
mod slow;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::admission::Admission;
use self::slow::Guarded;
use super::App;
use super::auth::client::{Peer, is_trusted};

pub use self::admission::Bounds;
pub use self::tls::{Tls, TlsError};

/// What a connection that got no place is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many there may be.
    pub bounds: Bounds,
    /// How long the header of a request may take, from the first byte or from the answer before.
    pub header_within: Duration,
    /// The largest header, in bytes.
    pub header: usize,
    /// How long the other end may take nothing of an answer.
    pub stall: Duration,
    /// How long requests may go on when the daemon stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            header_within: Duration::from_secs(10),
            header: 16 * 1024,
            stall: Duration::from_secs(30),
            grace: Duration::from_secs(3),
        }
    }
}

/// Serves until `stop` says so, then lets requests that run come to their end. Sockets are watched by the runtime that
/// polls this, and a task of `people` speaks on each.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    people: Handle,
    mut stop: watch::Receiver<bool>,
) {
    let admission = Arc::new(Admission::new(limits.bounds));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender is gone: so is the daemon.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((socket, address)) => {
                let connection = Connection { app: Arc::clone(&app), tls: tls.clone(), limits, stop: stop.clone() };
                connections.spawn_on(connection.run(socket, address, Arc::clone(&admission)), &people);
            }
            Err(error) => {
                // Out of file descriptors, mostly: others must end first.
                tracing::warn!(%error, "can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, all).await.is_err() {
        tracing::info!("connections that did not end are closed");
    }
}

struct Connection {
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, socket: TcpStream, address: SocketAddr, admission: Arc<Admission>) {
        let address = address.ip().to_canonical();
        let is_proxy = is_trusted(address, &self.app.web.trusted_proxies);
        let Some(ticket) = admission.admit(address, is_proxy).await else {
            tracing::info!(%address, "too many connections that are not logged in");
            if socket.try_write(FULL).is_err() {
                tracing::debug!(%address, "and it does not read");
            }
            return;
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let Some(tls) = self.tls.clone() else {
            return self.speak(socket, Peer { address, tls: false }, ticket).await;
        };
        match tls.accept(socket).await {
            Ok(stream) => self.speak(stream, Peer { address, tls: true }, ticket).await,
            Err(error) => tracing::debug!(%address, %error, "no TLS handshake"),
        }
    }

    async fn speak<S>(mut self, io: S, peer: Peer, ticket: admission::Ticket)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ticket = Arc::new(ticket);
        let upgraded = Arc::new(AtomicBool::new(false));
        let io = Guarded::new(io, self.limits.stall, Arc::clone(&ticket), Arc::clone(&upgraded));
        let app = Arc::clone(&self.app);
        let service = service_fn(move |request: Request<Incoming>| {
            let (app, ticket, upgraded) = (Arc::clone(&app), Arc::clone(&ticket), Arc::clone(&upgraded));
            async move {
                let (response, known) = app.answer(peer, request).await;
                if known {
                    ticket.known();
                }
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    upgraded.store(true, Ordering::Relaxed);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_within)
            .max_buf_size(self.limits.header)
            .max_headers(64)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        tokio::pin!(connection);
        let stopped = async { self.stop.wait_for(|stop| *stop).await.is_ok() };
        let early = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = stopped => None,
        };
        let ended = if let Some(ended) = early {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        };
        if let Err(error) = ended {
            tracing::debug!(address = %peer.address, %error, "a connection broke");
        }
    }
}
