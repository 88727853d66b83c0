//! How people are told, on the settings page: each channel with its rules in words, how it is, and a button that tries
//! it. What became of a try is an event, and with it the page reads itself anew.

use askama::Template;
use nixfleet_model::notify::Kind;
use nixfleet_protocol::api::NotificationChannel;

use super::button::{Button, Does};
use super::{Fleet, html, words};

#[derive(Template)]
#[template(path = "notifications.html")]
struct Section {
    channels: Vec<Line>,
}

struct Line {
    id: String,
    name: String,
    kind: &'static str,
    to: String,
    takes: String,
    /// `ok`, `outdated`, `error` or `unknown`: the look of a light.
    look: &'static str,
    state: String,
    at: Option<words::Ago>,
    waiting: String,
    test: Button,
}

/// The section.
pub(super) fn section(fleet: &Fleet<'_>, channels: &[NotificationChannel]) -> String {
    html(&Section { channels: channels.iter().map(|channel| line(fleet, channel)).collect() })
}

fn line(fleet: &Fleet<'_>, channel: &NotificationChannel) -> Line {
    let (look, state, at) = match (&channel.last_error, channel.quiet_until, channel.last_success) {
        (Some(error), ..) => ("error", format!("Not taken: {}.", error.message), Some(error.at)),
        (None, Some(until), _) => ("unknown", format!("Quiet until {}.", words::moment(until)), channel.last_success),
        (None, None, Some(at)) => ("ok", "Took the last one.".to_owned(), Some(at)),
        (None, None, None) => ("unknown", "Nothing was sent since the start.".to_owned(), None),
    };
    let waiting = match (channel.waiting, channel.retry_at) {
        (0, _) => String::new(),
        (waiting, Some(at)) => format!("{waiting} waiting, tried again {}", words::moment(at)),
        (waiting, None) => format!("{waiting} waiting"),
    };
    let does = Does::post(format!("/api/v1/notifications/{}/test", channel.name), format!("Test of {}", channel.name));
    Line {
        id: format!("channel:{}", channel.name),
        name: channel.name.clone(),
        kind: match channel.kind.as_str() {
            "ntfy" => "ntfy",
            "discord" => "Discord",
            "webhook" => "Webhook",
            _ => "E-mail",
        },
        to: channel.to.clone(),
        takes: takes(channel),
        look,
        state,
        at: at.map(|at| words::ago(at, fleet.now)),
        waiting,
        test: Button::new("Send a test", "small", does).of(&format!("to {}", channel.name)),
    }
}

/// The rules as a sentence.
fn takes(channel: &NotificationChannel) -> String {
    let kinds: Vec<&str> = channel.events.iter().map(|kind| in_words(kind)).collect();
    let mut sentence = if kinds.is_empty() { "Everything".to_owned() } else { capital(&kinds.join(", ")) };
    if !channel.levels.is_empty() {
        let levels: Vec<&str> = channel.levels.iter().map(|level| level.as_str()).collect();
        sentence += &[" of level ", &levels.join(" or ")].concat();
    }
    if !channel.hosts.is_empty() {
        sentence += &[", of hosts named ", &channel.hosts.join(" or ")].concat();
    }
    if !channel.tags.is_empty() {
        sentence += &[", of hosts tagged ", &channel.tags.join(" or ")].concat();
    }
    if let Some(quiet) = &channel.quiet {
        sentence += &["; quiet from ", quiet].concat();
    }
    sentence.push('.');
    sentence
}

fn in_words(kind: &str) -> &str {
    match kind.parse() {
        Ok(Kind::CommandFailed) => "failed commands",
        Ok(Kind::RunFinished) => "finished runs",
        Ok(Kind::RunHalted) => "halted runs",
        Ok(Kind::HostGone) => "hosts gone",
        Ok(Kind::HostBack) => "hosts back",
        Ok(Kind::UpdateWaiting) => "waiting updates",
        Ok(Kind::RemoteUnreadable) => "an unreadable repository",
        Ok(Kind::RemoteReadable) => "a repository that is readable again",
        Err(_) => kind,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::api::Level;

    use super::*;

    #[test]
    fn rules_are_told_in_words() {
        let mut channel = NotificationChannel {
            name: "phone".into(),
            kind: "ntfy".into(),
            to: "ntfy.sh".into(),
            events: Vec::new(),
            levels: Vec::new(),
            hosts: Vec::new(),
            tags: Vec::new(),
            quiet: None,
            quiet_until: None,
            waiting: 0,
            retry_at: None,
            last_success: None,
            last_error: None,
        };
        assert_eq!(takes(&channel), "Everything.");
        channel.events = vec!["host_gone".into(), "host_back".into()];
        channel.levels = vec![Level::Warn, Level::Error];
        channel.tags = vec!["prod".into()];
        channel.quiet = Some("22:00 to 07:00 (UTC)".into());
        let said =
            "Hosts gone, hosts back of level warn or error, of hosts tagged prod; quiet from 22:00 to 07:00 (UTC).";
        assert_eq!(takes(&channel), said);
    }
}
