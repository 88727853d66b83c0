//! Receivers of notifications, over real sockets: an HTTP server that does as it is told, a sink for mail, and one of each
//! kind together.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// How an HTTP receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes what comes.
    Takes,
    /// It answers with this status.
    Answers(u16),
    /// It reads, and says nothing.
    Hangs,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) bytes: Vec<u8>,
    /// Whether it was taken.
    pub(crate) taken: bool,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// Signed with the secret of [`Everyone::settings`].
    pub(crate) fn is_signed(&self) -> bool {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"shared");
        let signature = data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, &self.bytes).as_ref());
        self.header("x-nixfleet-signature") == format!("sha256={signature}")
    }
}

/// An HTTP server of the story.
pub(crate) struct Receiver {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (manner, came) = (Arc::new(Mutex::new(Manner::Takes)), Arc::<Mutex<Vec<Came>>>::default());
        let receiver = Self { port: listener.local_addr().unwrap().port(), manner, came };
        let (manner, came) = (Arc::clone(&receiver.manner), Arc::clone(&receiver.came));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, came) = (Arc::clone(&manner), Arc::clone(&came));
                thread::spawn(move || serve(stream, &manner, &came));
            }
        });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn is_to(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// All that came.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// Titles of the JSON that was taken.
    pub(crate) fn titles(&self) -> Vec<String> {
        let taken = self.came().into_iter().filter(|came| came.taken);
        taken.map(|came| came.json()["title"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// One request; nothing: the connection is bad.
fn serve(stream: TcpStream, manner: &Mutex<Manner>, came: &Mutex<Vec<Came>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    let manner = *manner.lock().unwrap();
    came.lock().unwrap().push(Came { path, headers, bytes, taken: manner == Manner::Takes });
    let mut stream = stream;
    match manner {
        Manner::Takes => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok(),
        Manner::Answers(status) => {
            let body = "{\"error\":\"not today\"}";
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).ok()
        }
        Manner::Hangs => {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            None
        }
    }
}

/// A mail server that takes everything; the letters, as they came.
pub(crate) struct MailSink {
    pub(crate) port: u16,
    letters: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Self { port: listener.local_addr().unwrap().port(), letters: Arc::default() };
        let letters = Arc::clone(&sink.letters);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let letters = Arc::clone(&letters);
                thread::spawn(move || converse(stream, &letters));
            }
        });
        sink
    }

    pub(crate) fn letters(&self) -> Vec<String> {
        self.letters.lock().unwrap().clone()
    }
}

fn converse(mut stream: TcpStream, letters: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    stream.write_all(b"220 sink\r\n").ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.split_whitespace().next()?.to_uppercase();
        match verb.as_str() {
            "EHLO" => stream.write_all(b"250-sink\r\n250 8BITMIME\r\n").ok()?,
            "DATA" => {
                stream.write_all(b"354 go on\r\n").ok()?;
                let mut letter = String::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    letter.push_str(&line);
                }
                letters.lock().unwrap().push(letter);
                stream.write_all(b"250 taken\r\n").ok()?;
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n").ok(),
            _ => stream.write_all(b"250 fine\r\n").ok()?,
        }
    }
}

/// One receiver for each kind of channel.
pub(crate) struct Everyone {
    pub(crate) ntfy: Receiver,
    pub(crate) discord: Receiver,
    pub(crate) webhook: Receiver,
    pub(crate) mail: MailSink,
}

/// What a person is told, whatever the channel.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) title: String,
    pub(crate) text: String,
}

impl Everyone {
    pub(crate) fn new() -> Self {
        Self { ntfy: Receiver::new(), discord: Receiver::new(), webhook: Receiver::new(), mail: MailSink::new() }
    }

    /// The daemon's settings, with secrets that it must not tell.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("NIXFLEET_BASE_URL", "https://fleet.example.org".to_owned()),
            ("NIXFLEET_NTFY_URL", self.ntfy.url("/alerts")),
            ("NIXFLEET_NTFY_TOKEN", "tk_of_the_story".to_owned()),
            ("NIXFLEET_DISCORD_WEBHOOK", self.discord.url("/api/webhooks/1/secret-part")),
            ("NIXFLEET_NOTIFY_WEBHOOK_URL", self.webhook.url("/hook/secret-part")),
            ("NIXFLEET_NOTIFY_WEBHOOK_SECRET", "shared".to_owned()),
            ("NIXFLEET_SMTP_URL", format!("smtp://127.0.0.1:{}", self.mail.port)),
            ("NIXFLEET_MAIL_FROM", "NixFleet <fleet@example.org>".to_owned()),
            ("NIXFLEET_MAIL_TO", "ops@example.org".to_owned()),
        ]
    }

    /// What each channel brought so far, links and all.
    pub(crate) fn told(&self) -> [(&'static str, Vec<Told>); 4] {
        let http = |receiver: &Receiver, title: &str| {
            let told = |came: Came| {
                let (body, text) = (came.json(), String::from_utf8_lossy(&came.bytes).into_owned());
                Told { title: body.pointer(title).and_then(Value::as_str).unwrap_or_default().to_owned(), text }
            };
            receiver.came().into_iter().map(told).collect()
        };
        let letter = |letter: String| {
            let text = letter.replace("=\r\n", "");
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned();
            Told { title: subject, text }
        };
        [
            ("ntfy", http(&self.ntfy, "/title")),
            ("discord", http(&self.discord, "/embeds/0/title")),
            ("webhook", http(&self.webhook, "/title")),
            ("mail", self.mail.letters().into_iter().map(letter).collect()),
        ]
    }
}
