//! How people are told: `[[notify]]` tables of the file, and one channel of each kind from plain settings. An address
//! of ntfy or Discord is a secret: who has it can write there.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use jiff::tz::{Offset, TimeZone};
use nixfleet_model::notify::{Kind, Quiet, Rules};
use nixfleet_protocol::api::Level;
use serde::Deserialize;

use super::sources::{Parsed, Sources};
use super::{Secret, values};

/// A way to reach people, and what goes there.
#[derive(Clone)]
pub struct ChannelConfig {
    /// Its name, unique.
    pub name: String,
    /// What it takes.
    pub rules: Rules,
    /// When it takes nothing.
    pub quiet: Option<Quiet>,
    /// How it is reached.
    pub way: Way,
}

/// How a channel is reached.
#[derive(Clone)]
pub enum Way {
    /// A topic of an ntfy server.
    Ntfy {
        /// The topic's address.
        url: Secret,
        /// Where the topic is protected.
        token: Option<Secret>,
    },
    /// A webhook of a Discord channel.
    Discord {
        /// Its address.
        url: Secret,
    },
    /// Anything that takes JSON.
    Webhook {
        /// Its address.
        url: Secret,
        /// What its body is signed with.
        secret: Option<Secret>,
        /// Headers of one's own.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// E-mail.
    Mail(MailConfig),
}

/// E-mail over SMTP.
#[derive(Clone)]
pub struct MailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Who logs in.
    pub user: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// Who it is from.
    pub from: lettre::message::Mailbox,
    /// Who gets it.
    pub to: Vec<lettre::message::Mailbox>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (`smtps://`).
    Implicit,
    /// STARTTLS, or nothing is sent.
    StartTls,
    /// None: on this machine alone.
    Plain,
}

/// `[[notify]]` as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ChannelText {
    name: String,
    kind: String,
    url: Option<String>,
    url_file: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    headers: std::collections::BTreeMap<String, String>,
    from: Option<String>,
    to: Vec<String>,
    events: Vec<String>,
    levels: Vec<String>,
    hosts: Vec<String>,
    tags: Vec<String>,
    quiet: Option<String>,
    timezone: Option<String>,
}

/// Fields of a table whose value must not be shown, whatever is wrong with it.
const HIDDEN: [&str; 5] = ["url", "token", "secret", "password", "headers"];

/// All channels: first those of plain settings, then those of the file.
pub(super) fn channels(from: &mut Sources<'_>) -> Vec<ChannelConfig> {
    let mut channels = plain(from);
    let tables = std::mem::take(&mut from.notify);
    for (number, table) in tables.into_iter().enumerate() {
        let place = format!("notify {}", number + 1);
        if let Some(channel) = table_of(from, &place, table) {
            channels.push(channel);
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for channel in &channels {
        if !names.insert(channel.name.as_str()) {
            from.problem("notify", format!("two channels are named {:?}", channel.name));
        }
    }
    channels
}

/// `NIXFLEET_NTFY_URL` and its siblings.
fn plain(from: &mut Sources<'_>) -> Vec<ChannelConfig> {
    let list = |text: &str| values::list(text).map(str::to_owned).collect::<Vec<_>>();
    let kinds = from.or("notify_events", Vec::new(), |text| kinds(&list(text)));
    let levels = from.or("notify_levels", Vec::new(), |text| levels(&list(text)));
    let hosts = from.or("notify_hosts", Vec::new(), |text| patterns(&list(text)));
    let tags = from.or("notify_tags", Vec::new(), |text| Ok(list(text)));
    let zone = from.or("notify_timezone", None, |text| zone(text).map(Some));
    let quiet = from.optional("notify_quiet", |text| quiet(text, zone.unwrap_or_else(local)));
    let rules = Rules { kinds, levels, hosts, tags };

    let mut ways = Vec::new();
    let url = from.secret("ntfy_url", address);
    let token = from.secret("ntfy_token", one_line);
    ways.extend(url.map(|url| ("ntfy", Way::Ntfy { url, token })));
    let url = from.secret("discord_webhook", address);
    ways.extend(url.map(|url| ("discord", Way::Discord { url })));
    let url = from.secret("notify_webhook_url", address);
    let secret = from.secret("notify_webhook_secret", Ok);
    ways.extend(url.map(|url| ("webhook", Way::Webhook { url, secret, headers: Vec::new() })));
    let server = from.optional("smtp_url", server);
    let password = from.secret("smtp_password", Ok);
    let sender = from.optional("mail_from", mailbox);
    let to = from.or("mail_to", Vec::new(), |text| values::list(text).map(mailbox).collect::<Parsed<Vec<_>>>());
    if let Some(server) = server {
        match (sender, to.is_empty()) {
            (Some(sender), false) => ways.push(("mail", Way::Mail(server.with(password, sender, to)))),
            (None, _) => missing(from, "NIXFLEET_MAIL_FROM", "an address that letters are from"),
            (Some(_), true) => missing(from, "NIXFLEET_MAIL_TO", "an address that letters go to"),
        }
    }
    let channel = |(name, way): (&str, Way)| ChannelConfig {
        name: name.to_owned(),
        rules: rules.clone(),
        quiet: quiet.clone(),
        way,
    };
    let channels: Vec<_> = ways.into_iter().map(channel).collect();
    for channel in &channels {
        warn_of_clear_text(from, channel);
    }
    channels
}

/// Says what is missing, where nothing was said of it yet.
fn missing(from: &mut Sources<'_>, name: &str, what: &str) {
    if !from.problems.iter().any(|problem| problem.setting == name) {
        from.problem(name, format!("is required with NIXFLEET_SMTP_URL: {what}"));
    }
}

fn table_of(from: &mut Sources<'_>, place: &str, table: toml::Value) -> Option<ChannelConfig> {
    let Some(fields) = table.as_table() else {
        from.problem(place, "is written [[notify]], once for each channel");
        return None;
    };
    for name in HIDDEN {
        let fine = match fields.get(name) {
            Some(toml::Value::Table(headers)) if name == "headers" => headers.values().all(toml::Value::is_str),
            Some(value) => value.is_str(),
            None => true,
        };
        if !fine {
            from.problem(format!("{place}, {name}"), "expected a text");
            return None;
        }
    }
    let text: ChannelText = match table.try_into() {
        Ok(text) => text,
        Err(error) => {
            from.problem(place, error.message().to_owned());
            return None;
        }
    };
    let place = if text.name.is_empty() { place.to_owned() } else { format!("{place} ({})", cut(&text.name)) };
    let before = from.problems.len();
    let channel = text.channel(from, &place);
    channel.filter(|_| from.problems.len() == before).inspect(|channel| warn_of_clear_text(from, channel))
}

impl ChannelText {
    /// Notes all that is wrong with the table.
    fn channel(self, from: &mut Sources<'_>, place: &str) -> Option<ChannelConfig> {
        let Self { name, kind, url, url_file, token, token_file, secret, secret_file, password, password_file, .. } =
            self;
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fine) {
            from.problem(place, "name: expected lower case letters, digits and hyphens, at most 40");
        }
        let url = from.given_or_file(place, "url", url, url_file);
        let token = from.given_or_file(place, "token", token, token_file);
        let secret = from.given_or_file(place, "secret", secret, secret_file);
        let password = from.given_or_file(place, "password", password, password_file);
        let mut foreign = |given: bool, field: &str| {
            if given {
                from.problem(place, format!("{field}: a channel of this kind has none"));
            }
        };
        foreign(token.is_some() && kind != "ntfy", "token");
        foreign(secret.is_some() && kind != "webhook", "secret");
        foreign(!self.headers.is_empty() && kind != "webhook", "headers");
        foreign(password.is_some() && kind != "mail", "password");
        foreign(self.from.is_some() && kind != "mail", "from");
        foreign(!self.to.is_empty() && kind != "mail", "to");

        let kinds = from.field(place, "events", kinds(&self.events));
        let levels = from.field(place, "levels", levels(&self.levels));
        let hosts = from.field(place, "hosts", patterns(&self.hosts));
        let rules = Rules {
            kinds: kinds.unwrap_or_default(),
            levels: levels.unwrap_or_default(),
            hosts: hosts.unwrap_or_default(),
            tags: self.tags,
        };
        let zone = self.timezone.as_deref().map(zone);
        let zone = zone.and_then(|zone| from.field(place, "timezone", zone));
        let quiet = self.quiet.as_deref().map(|text| quiet(text, zone.unwrap_or_else(local)));
        let quiet = quiet.and_then(|quiet| from.field(place, "quiet", quiet));

        let Some(url) = url else {
            if !from.problems.iter().any(|problem| problem.setting == place && problem.message.starts_with("url")) {
                from.problem(place, "url: is required, here or in a file that url_file names");
            }
            return None;
        };
        let way = match kind.as_str() {
            "ntfy" => {
                let token = token.and_then(|token| from.field(place, "token", one_line(token)));
                Way::Ntfy { url: from.field(place, "url", address(url))?, token }
            }
            "discord" => Way::Discord { url: from.field(place, "url", address(url))? },
            "webhook" => {
                let headers = self.headers.iter().map(|(name, value)| header(name, value)).collect::<Parsed<Vec<_>>>();
                let headers = from.field(place, "headers", headers).unwrap_or_default();
                Way::Webhook { url: from.field(place, "url", address(url))?, secret, headers }
            }
            "mail" => {
                let server = from.field(place, "url", server(url.expose()));
                let sender = match &self.from {
                    Some(text) => from.field(place, "from", mailbox(text)),
                    None => from.field(place, "from", Err("is required".to_owned())),
                };
                let to = self.to.iter().map(|text| mailbox(text)).collect::<Parsed<Vec<_>>>();
                let to = to.and_then(|to| if to.is_empty() { Err("is required".to_owned()) } else { Ok(to) });
                let to = from.field(place, "to", to);
                Way::Mail(server?.with(password, sender?, to?))
            }
            _ => {
                from.problem(place, "kind: expected ntfy, discord, webhook or mail");
                return None;
            }
        };
        Some(ChannelConfig { name, rules, quiet, way })
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn kinds(words: &[String]) -> Parsed<Vec<Kind>> {
    let all = || Kind::ALL.map(Kind::as_str).join(", ");
    words.iter().map(|word| word.parse().map_err(|_| format!("expected of these: {}", all()))).collect()
}

fn levels(words: &[String]) -> Parsed<Vec<Level>> {
    let find = |word: &String| Level::ALL.into_iter().find(|level| level.as_str() == word);
    let expected = || "expected of these: info, success, warn, error".to_owned();
    words.iter().map(|word| find(word).ok_or_else(expected)).collect()
}

fn patterns(words: &[String]) -> Parsed<Vec<String>> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-*?".contains(&b);
    let pattern = |word: &String| {
        if !word.is_empty() && word.bytes().all(fine) {
            Ok(word.to_ascii_lowercase())
        } else {
            Err("expected names of hosts, in which * and ? may stand".to_owned())
        }
    };
    words.iter().map(pattern).collect()
}

/// `UTC`, `+02:00`, or a place such as `Europe/Vienna`.
fn zone(text: &str) -> Parsed<TimeZone> {
    if text.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Some((sign, rest)) = text.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-")) {
        let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() == 2);
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
        let seconds = number(hours).zip(number(minutes)).filter(|(h, m)| *h <= 14 && *m < 60);
        let sign = if sign == "-" { -1 } else { 1 };
        let offset = seconds.and_then(|(h, m)| Offset::from_seconds(sign * (h * 3600 + m * 60)).ok());
        return offset.map(TimeZone::fixed).ok_or_else(|| "expected an offset like +02:00".to_owned());
    }
    TimeZone::get(text).map_err(|_| {
        "is no time zone that this machine knows: expected UTC, an offset like +02:00, or a place like Europe/Vienna, \
         for which the zone files (tzdata) have to be there"
            .to_owned()
    })
}

/// The clocks of this machine.
fn local() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

fn quiet(text: &str, zone: TimeZone) -> Parsed<Quiet> {
    Quiet::parse(text, zone).map_err(|_| "expected hours like 22:00-07:00".to_owned())
}

fn one_line(secret: Secret) -> Parsed<Secret> {
    if secret.expose().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(secret)
    } else {
        Err("may hold only printable ASCII characters without spaces".to_owned())
    }
}

/// Where something is posted to.
fn address(secret: Secret) -> Parsed<Secret> {
    let expected = || "expected an address like https://example.org/path".to_owned();
    let uri: Uri = secret.expose().parse().map_err(|_| expected())?;
    let scheme = matches!(uri.scheme_str(), Some("https" | "http"));
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    match authority {
        Some(authority) if scheme && !authority.as_str().contains('@') => Ok(secret),
        Some(_) if scheme => Err("must not hold a name and a password before the @".to_owned()),
        Some(_) | None => Err(expected()),
    }
}

fn header(name: &str, value: &str) -> Parsed<(HeaderName, HeaderValue)> {
    let expected = || "expected names and values of HTTP headers".to_owned();
    let name: HeaderName = name.parse().map_err(|_| expected())?;
    if [hyper::header::HOST, hyper::header::CONTENT_LENGTH, hyper::header::TRANSFER_ENCODING].contains(&name) {
        return Err(format!("{name} is made by the client"));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| expected())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn mailbox(text: &str) -> Parsed<lettre::message::Mailbox> {
    text.parse().map_err(|_| "expected an address like fleet@example.org or NixFleet <fleet@example.org>".to_owned())
}

/// A mail server.
struct MailServer {
    host: String,
    port: u16,
    tls: MailTls,
    user: Option<String>,
}

impl MailServer {
    fn with(
        self,
        password: Option<Secret>,
        from: lettre::message::Mailbox,
        to: Vec<lettre::message::Mailbox>,
    ) -> MailConfig {
        let Self { host, port, tls, user } = self;
        MailConfig { host, port, tls, user, password, from, to }
    }
}

/// `smtps://user@host:465`, or `smtp://user@host:587`, which is STARTTLS but on this machine itself.
fn server(text: &str) -> Parsed<MailServer> {
    let expected = || "expected smtps://user@host or smtp://user@host:587".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
    let (user, place) = match rest.trim_end_matches('/').rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest.trim_end_matches('/')),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("must not hold a password: give it as NIXFLEET_SMTP_PASSWORD, or as password_file".to_owned());
    }
    // A name with an @ in it, as many servers want it.
    let user = user.map(|user| user.replace("%40", "@"));
    if !values::is_authority(place) {
        return Err(expected());
    }
    let authority: hyper::http::uri::Authority = place.parse().map_err(|_| expected())?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let (tls, port) = match scheme {
        "smtps" => (MailTls::Implicit, 465),
        "smtp" if loopback => (MailTls::Plain, 25),
        "smtp" => (MailTls::StartTls, 587),
        _ => return Err(expected()),
    };
    Ok(MailServer { host, port: authority.port_u16().unwrap_or(port), tls, user })
}

fn warn_of_clear_text(from: &mut Sources<'_>, channel: &ChannelConfig) {
    let (Way::Ntfy { url, .. } | Way::Discord { url } | Way::Webhook { url, .. }) = &channel.way else { return };
    let Ok(uri) = url.expose().parse::<Uri>() else { return };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.scheme_str() == Some("http") && !loopback {
        from.warn(format!("the channel {} is reached without TLS: what it tells can be read on the way", channel.name));
    }
}
