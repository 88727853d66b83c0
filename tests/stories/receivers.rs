//! Receivers of notifications, over real sockets: an HTTP server that does as it is told, a sink for mail, and one of each
//! kind together.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

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

/// A server's certificate and key, as rustls has them; none: it speaks in the clear.
pub(crate) type Tls = Option<Arc<ServerConfig>>;

/// From PEM.
pub(crate) fn tls(certificate: &str, key: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn secured(stream: TcpStream, tls: &Tls) -> Box<dyn Stream> {
    match tls {
        None => Box::new(stream),
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)),
    }
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
    scheme: &'static str,
    manner: Arc<Mutex<Manner>>,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self::over(None)
    }

    /// With this certificate.
    pub(crate) fn over(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (manner, came) = (Arc::new(Mutex::new(Manner::Takes)), Arc::<Mutex<Vec<Came>>>::default());
        let receiver = Self { port: listener.local_addr().unwrap().port(), scheme, manner, came };
        let (manner, came) = (Arc::clone(&receiver.manner), Arc::clone(&receiver.came));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, came, tls) = (Arc::clone(&manner), Arc::clone(&came), tls.clone());
                thread::spawn(move || serve(secured(stream, &tls), &manner, &came));
            }
        });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
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
fn serve(stream: Box<dyn Stream>, manner: &Mutex<Manner>, came: &Mutex<Vec<Came>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
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
    let mut say = |text: &[u8]| reader.get_mut().write_all(text).and_then(|()| reader.get_mut().flush()).ok();
    match manner {
        Manner::Takes => say(b"HTTP/1.1 204 No Content\r\n\r\n"),
        Manner::Answers(status) => {
            let body = "{\"error\":\"not today\"}";
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            say(answer.as_bytes())
        }
        Manner::Hangs => {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            None
        }
    }
}

/// How a mail server talks.
#[derive(Clone, Default)]
pub(crate) struct Talks {
    pub(crate) tls: Tls,
    /// TLS is offered and not there from the beginning.
    pub(crate) starttls: bool,
    /// These recipients are refused, with these words.
    pub(crate) refuses: Vec<(&'static str, &'static str)>,
}

/// A mail server that takes everything; the letters, as they came, each with its recipients before it.
pub(crate) struct MailSink {
    pub(crate) port: u16,
    letters: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    pub(crate) fn new() -> Self {
        Self::that(Talks::default())
    }

    pub(crate) fn that(talks: Talks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Self { port: listener.local_addr().unwrap().port(), letters: Arc::default() };
        let letters = Arc::clone(&sink.letters);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (letters, talks) = (Arc::clone(&letters), talks.clone());
                thread::spawn(move || converse(stream, &talks, &letters));
            }
        });
        sink
    }

    pub(crate) fn letters(&self) -> Vec<String> {
        self.letters.lock().unwrap().clone()
    }
}

fn converse(stream: TcpStream, talks: &Talks, letters: &Mutex<Vec<String>>) -> Option<()> {
    let mut clear = talks.starttls;
    let first = if clear { None } else { talks.tls.clone() };
    let upgrades = stream.try_clone().ok()?;
    let mut reader = BufReader::new(secured(stream, &first));
    let say = |reader: &mut BufReader<Box<dyn Stream>>, text: &str| {
        reader.get_mut().write_all(format!("{text}\r\n").as_bytes()).ok()?;
        reader.get_mut().flush().ok()
    };
    say(&mut reader, "220 sink")?;
    let mut to = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.split_whitespace().next()?.to_uppercase();
        match verb.as_str() {
            "EHLO" if clear => say(&mut reader, "250-sink\r\n250 STARTTLS")?,
            "EHLO" => say(&mut reader, "250-sink\r\n250 8BITMIME")?,
            "STARTTLS" => {
                say(&mut reader, "220 go on")?;
                reader = BufReader::new(secured(upgrades.try_clone().ok()?, &talks.tls));
                clear = false;
            }
            _ if clear => say(&mut reader, "530 not in the clear")?,
            "RCPT" => {
                let refused = talks.refuses.iter().find(|(who, _)| line.contains(who));
                if refused.is_none() {
                    to.push_str(&line);
                }
                say(&mut reader, refused.map_or("250 fine", |(_, words)| words))?;
            }
            "DATA" => {
                say(&mut reader, "354 go on")?;
                let mut letter = std::mem::take(&mut to);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    letter.push_str(&line);
                }
                letters.lock().unwrap().push(letter);
                say(&mut reader, "250 taken")?;
            }
            "QUIT" => return say(&mut reader, "221 bye"),
            _ => say(&mut reader, "250 fine")?,
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
