//! The door, from outside: login and cookies, CSRF and Origin, tokens bound to their hosts, two machines with one
//! name.

use std::net::TcpStream;

use nixfleet_protocol::agent::{AgentMessage, Register};
use nixfleet_protocol::codec::encode;
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::fleet::{Fleet, PASSWORD};

/// A logged-in browser, without its scripts.
pub(crate) struct Browser {
    base: String,
    cookie: String,
    agent: ureq::Agent,
}

impl Browser {
    /// Goes through the login form as a browser does.
    pub(crate) fn log_in(fleet: &Fleet) -> Self {
        let mut browser = Self::stranger(fleet);
        let status = browser.try_password(PASSWORD);
        assert_eq!(status, 303, "the login leads to the page");
        browser
    }

    fn stranger(fleet: &Fleet) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        Self { base: format!("http://127.0.0.1:{}", fleet.port), cookie: String::new(), agent: config.into() }
    }

    fn try_password(&mut self, password: &str) -> u16 {
        let mut form = self.agent.get(format!("{}/login", self.base)).header("Cookie", &self.cookie).call().unwrap();
        self.keep_cookies(&form);
        let page = form.body_mut().read_to_string().unwrap();
        let csrf = attribute(&page, "name=\"csrf_token\"", "value");
        let body = form_encode(&[("password", password), ("csrf_token", &csrf)]);
        let answer = self
            .agent
            .post(format!("{}/login", self.base))
            .header("Cookie", &self.cookie)
            .header("Origin", &self.base)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(body)
            .unwrap();
        self.keep_cookies(&answer);
        answer.status().as_u16()
    }

    /// A page, as HTML.
    pub(crate) fn page(&self, path: &str) -> String {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).header("Cookie", &self.cookie).call().unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.body_mut().read_to_string().unwrap()
    }

    fn post(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Cookie", &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send_json(json!({})).unwrap().status().as_u16()
    }

    fn keep_cookies<T>(&mut self, answer: &ureq::http::Response<T>) {
        let mut cookies: Vec<(String, String)> = self
            .cookie
            .split("; ")
            .filter_map(|pair| pair.split_once('='))
            .map(|(n, v)| (n.into(), v.into()))
            .collect();
        for set in answer.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            cookies.retain(|(known, _)| known != name);
            cookies.push((name.to_owned(), value.to_owned()));
        }
        self.cookie = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    }
}

fn form_encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The value of an attribute in the tag that holds `mark`.
fn attribute(page: &str, mark: &str, name: &str) -> String {
    let at = page.find(mark).unwrap_or_else(|| panic!("no {mark} in {page}"));
    let start = page[..at].rfind('<').unwrap();
    let tag = &page[start..start + page[start..].find('>').unwrap()];
    let value = tag.split(&format!("{name}=\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {tag}"));
    value.split('"').next().unwrap().to_owned()
}

#[test]
fn a_browser_logs_in_and_every_mutation_needs_its_token_and_its_origin() {
    let fleet = Fleet::new().host("hsb0");
    let mut browser = Browser::stranger(&fleet);
    let page = browser.agent.get(format!("{}/", browser.base)).call().unwrap();
    assert_eq!(page.status(), 303, "a page without a login leads to the login");
    assert_eq!(browser.try_password("wrong"), 401);
    assert_eq!(browser.try_password(PASSWORD), 303);
    let page = browser.page("/");
    assert!(page.contains("hsb0"), "the page is complete before any script runs");
    let csrf = attribute(&page, "name=\"csrf-token\"", "content");
    let origin = browser.base.clone();
    let op = "/api/v1/hosts/hsb0/ops/switch";
    assert_eq!(browser.post(op, &[("Origin", &origin)]), 403, "no CSRF token");
    assert_eq!(browser.post(op, &[("X-CSRF-Token", &csrf)]), 403, "no Origin");
    assert_eq!(browser.post(op, &[("X-CSRF-Token", &csrf), ("Origin", "http://evil.example")]), 403);
    assert_eq!(browser.post(op, &[("X-CSRF-Token", "x"), ("Origin", &origin)]), 403);
    assert_eq!(browser.post(op, &[("X-CSRF-Token", &csrf), ("Origin", &origin)]), 202);
}

#[test]
fn the_sixth_guess_in_a_minute_is_not_looked_at() {
    let fleet = Fleet::new();
    let mut browser = Browser::stranger(&fleet);
    let statuses: Vec<u16> = (0..6).map(|_| browser.try_password("wrong")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    assert_eq!(browser.try_password(PASSWORD), 429, "not even the right one");
}

/// An agent of the story's own hand, on `/ws`.
fn dial(fleet: &Fleet, token: &str) -> Result<tungstenite::WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://127.0.0.1:{}/ws", fleet.port).into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", fleet.port)).unwrap();
    stream.set_read_timeout(Some(crate::fleet::PATIENCE)).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Registers under a name; the close code, or nothing when it was let in.
fn register(socket: &mut tungstenite::WebSocket<TcpStream>, hostname: &str) -> Option<u16> {
    let register = Register { hostname: hostname.into(), agent_version: "2.0.0".into(), ..Register::default() };
    socket.send(Message::text(encode(&AgentMessage::Register(Box::new(register))))).unwrap();
    loop {
        match socket.read().unwrap() {
            Message::Close(frame) => return Some(frame.unwrap().code.into()),
            Message::Text(text) if text.contains("\"registered\"") => return None,
            Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

fn token_for(fleet: &Fleet, host: &str) -> String {
    let made = fleet.post("/api/v1/tokens", &json!({ "kind": "host", "host": host, "name": host }));
    assert_eq!(made.0, 201, "{}", made.1);
    made.1["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_lets_its_own_host_in_and_no_other() {
    let fleet = Fleet::new();
    assert_eq!(dial(&fleet, "not-a-token").map(|_| ()), Err(401));
    let token = token_for(&fleet, "hsb0");
    assert_eq!(fleet.get("/api/v1/hosts/hsb0").1["state"], "never", "a token makes its host");
    assert_eq!(register(&mut dial(&fleet, &token).unwrap(), "hsb1"), Some(4001));
    assert_eq!(register(&mut dial(&fleet, &token).unwrap(), "no name"), Some(4008));
    let mut agent = dial(&fleet, &token).unwrap();
    assert_eq!(register(&mut agent, "HSB0"), None, "names are folded");
    fleet.wait("the host is online", |fleet| fleet.get("/api/v1/hosts/hsb0").1["state"] == "online");
}

#[test]
fn a_second_machine_with_a_name_that_is_taken_is_refused_and_the_first_stays() {
    let fleet = Fleet::new();
    let token = token_for(&fleet, "hsb0");
    let mut first = dial(&fleet, &token).unwrap();
    assert_eq!(register(&mut first, "hsb0"), None);
    let answers = std::thread::spawn(move || {
        // Reading answers the pings.
        while let Ok(message) = first.read() {
            if let Message::Close(frame) = message {
                return frame.map(|frame| u16::from(frame.code));
            }
        }
        None
    });
    assert_eq!(register(&mut dial(&fleet, &token).unwrap(), "hsb0"), Some(4009));
    fleet.wait("an event tells of it", |fleet| fleet.get("/api/v1/events").1.to_string().contains("name_clash"));
    assert_eq!(fleet.get("/api/v1/hosts/hsb0").1["state"], "online");
    drop(fleet);
    assert_ne!(answers.join().unwrap(), Some(4000), "the first was not replaced");
}
