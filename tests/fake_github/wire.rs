//! HTTP as the fake speaks it: one request, one answer, and the connection is over.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::SystemTime;

use serde_json::{Value, json};

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

pub(crate) fn refuse(status: u16, message: &str) -> Reply {
    reply(status, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The `ETag` is a hash of the body; who has it gets 304.
pub(crate) fn with_tag(mut answer: Reply, request: &Request) -> Reply {
    if answer.status != 200 {
        return answer;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &answer.body);
    let tag = format!("W/\"{}\"", data_encoding::HEXLOWER.encode(&digest.as_ref()[..16]));
    if request.header("if-none-match") == Some(&tag) {
        answer = Reply { status: 304, headers: Vec::new(), body: Vec::new() };
    }
    answer.headers.push(("etag".to_owned(), tag));
    answer
}

pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn decoded(text: &str) -> String {
    form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes()).next().unwrap().1.into_owned()
}

pub(crate) fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request { method, path: decoded(path), query, headers, body })
}

pub(crate) fn write(mut stream: &TcpStream, answer: &Reply) {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    for (name, value) in &answer.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if answer.status != 304 && answer.status != 204 {
        write!(head, "content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n", answer.body.len())
            .unwrap();
    }
    head.push_str("connection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&answer.body);
    let _ = stream.flush();
}
