//! HTTP as a program speaks it: one connection, requests one after the other.

use std::io::Read as _;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::daemon::{ADMIN, PASSWORD};

/// A connection, made again when the daemon closed it because nothing came for a while.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    port: u16,
    authority: String,
    login: (header::HeaderName, String),
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Its text, unpacked.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        if self.headers.contains_key(header::CONTENT_ENCODING) {
            GzDecoder::new(self.body.as_ref()).read_to_string(&mut text)?;
        } else {
            self.body.as_ref().read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Http {
    /// With the API token.
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Self> {
        let login = (header::AUTHORIZATION, format!("Bearer {ADMIN}"));
        Ok(Self { sender: dial(port).await?, port, authority: format!("127.0.0.1:{port}"), login })
    }

    /// As a browser: with the cookie of a login.
    pub(crate) async fn log_in(port: u16) -> anyhow::Result<Self> {
        let mut http = Self::connect(port).await?;
        http.login = (header::COOKIE, String::new());
        let form = http.get("/login").await?;
        http.login.1 = cookie(&form.headers, "nixfleet_login")?;
        let page = form.text()?;
        let token = page.split("name=\"csrf_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let token = token.context("the login page has no token")?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("csrf_token", token)
            .append_pair("password", PASSWORD)
            .finish();
        let answer = http.send("POST", "/login", "application/x-www-form-urlencoded", body.into()).await?;
        ensure!(answer.status == StatusCode::SEE_OTHER, "the login failed: {}", answer.status);
        http.login.1 = cookie(&answer.headers, "nixfleet_session")?;
        Ok(http)
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, "", Bytes::new()).await
    }

    /// A POST of JSON, and JSON back. Any status but a good one is an error.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.send("POST", path, "application/json", body.to_string().into()).await?;
        let text = answer.text()?;
        ensure!(answer.status.is_success(), "POST {path}: {} {text}", answer.status);
        Ok(serde_json::from_str(&text)?)
    }

    /// A token of a host's own.
    pub(crate) async fn token(&mut self, host: &str) -> anyhow::Result<String> {
        let made = self.post("/api/v1/tokens", &json!({ "kind": "host", "host": host, "name": host })).await?;
        Ok(made["token"].as_str().context("no token")?.to_owned())
    }

    async fn send(&mut self, method: &str, path: &str, kind: &str, body: Bytes) -> anyhow::Result<Answer> {
        let origin = format!("http://{}", self.authority);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.authority).header(header::ACCEPT_ENCODING, "gzip");
        request = request.header(&self.login.0, &self.login.1).header(header::ORIGIN, origin);
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if self.sender.ready().await.is_err() {
            self.sender = dial(self.port).await?;
        }
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }
}

async fn dial(port: u16) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn cookie(headers: &HeaderMap, name: &str) -> anyhow::Result<String> {
    let all = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pair = all.filter_map(|cookie| cookie.split(';').next()).find(|pair| pair.starts_with(name));
    Ok(pair.with_context(|| format!("no cookie {name}"))?.to_owned())
}
