//! The settings: tokens, sessions, the second factor, what is kept, and what this is. Tokens and sessions are no part
//! of the fleet's state; when an event tells that they changed, the page reads itself anew.

use askama::Template;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Event, NotificationChannel};

use super::button::{Button, Does};
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, asset_url, html, notifications, words};
use crate::actors::access::{SessionInfo, TokenInfo};
use crate::actors::janitor::Kept;

/// What the page shows beside the state.
#[derive(Clone, Copy, Debug)]
pub struct SettingsPage<'a> {
    /// The tokens that live.
    pub tokens: &'a [TokenInfo],
    /// The sessions that live.
    pub sessions: &'a [SessionInfo],
    /// Whether a login needs a code.
    pub totp: bool,
    /// A base32 secret that nobody knows yet, for a second factor.
    pub fresh: &'a str,
    /// What is kept and for how long; nothing while the janitor is away.
    pub kept: Option<&'a Kept>,
    /// How people are told.
    pub channels: &'a [NotificationChannel],
    /// Where the data is.
    pub data_dir: &'a str,
    /// Bytes that may still be written there.
    pub free: Option<u64>,
    /// The last backup that was made through the daemon.
    pub backup: Option<Time>,
}

/// Whether an event tells of something that the page shows.
pub(super) fn is_told(event: &Event) -> bool {
    const TOLD: [&str; 9] = [
        "login",
        "logout",
        "session_ended",
        "token_created",
        "token_removed",
        "retention",
        "backup_made",
        "notification_tested",
        "notification_refused",
    ];
    TOLD.contains(&event.action.as_str())
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    shell: Shell,
    tokens: Vec<TokenLine>,
    sessions: Vec<SessionLine>,
    others: Option<Button>,
    totp: bool,
    kept: Vec<(&'static str, String)>,
    notifications: String,
    about: String,
    shared: bool,
    fresh: String,
    uri: String,
}

struct TokenLine {
    id: String,
    kind: &'static str,
    name: String,
    host: String,
    scopes: String,
    made: words::Ago,
    used: Option<words::Ago>,
    ends: String,
    end: Button,
}

struct SessionLine {
    id: String,
    browser: String,
    whole: String,
    address: String,
    since: words::Ago,
    seen: words::Ago,
    current: bool,
    end: Button,
}

/// The page `/settings`.
pub fn settings_page(fleet: &Fleet<'_>, page: SettingsPage<'_>, session: Session<'_>) -> String {
    let others = page.sessions.iter().filter(|session| !session.current).count();
    html(&Page {
        shell: shell(fleet, "Settings", &PageKind::Settings, session),
        tokens: page.tokens.iter().map(|token| token_line(fleet, token)).collect(),
        sessions: page.sessions.iter().map(|session| session_line(fleet, session)).collect(),
        others: (others > 0).then(|| {
            let sentence = match others {
                1 => "The other browser is signed out at once, and asks for the password.".to_owned(),
                n => format!("{n} other browsers are signed out at once, and ask for the password."),
            };
            let title = "End all other sessions".to_owned();
            Button::new(
                "End all others",
                "small",
                Does::delete("/api/v1/sessions".to_owned(), title, sentence, "End them"),
            )
        }),
        totp: page.totp,
        kept: kept(fleet, &page),
        notifications: notifications::section(fleet, page.channels),
        about: about(fleet),
        shared: fleet.state.server.shared_agent_token,
        // In fours, as people read it.
        fresh: page.fresh.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "),
        uri: format!("otpauth://totp/NixFleet?secret={}&issuer=NixFleet", page.fresh),
    })
}

fn token_line(fleet: &Fleet<'_>, token: &TokenInfo) -> TokenLine {
    let sentence = match (&token.host, token.kind) {
        (Some(host), _) => format!(
            "The agent that came to {host} with this token is cut off at once. It comes back with another token of \
             {host} only."
        ),
        (None, "enrol") => "No machine can join with it any more.".to_owned(),
        (None, _) => format!("What uses {} is refused from now on.", token.name),
    };
    let does = Does::delete(
        format!("/api/v1/tokens/{}", token.id),
        format!("End the token {}", token.name),
        sentence,
        "End the token",
    );
    TokenLine {
        id: format!("token:{}", token.id),
        kind: match token.kind {
            "host" => "Host",
            "api" => "API",
            _ => "Enrolment",
        },
        name: token.name.clone(),
        host: token.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        scopes: token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "),
        made: words::ago(token.created_at, fleet.now),
        used: token.last_used.map(|used| words::ago(used, fleet.now)),
        ends: token.expires_at.map_or_else(|| "never ends".to_owned(), |end| format!("ends {}", words::day(end))),
        end: Button::new("End", "small", does).of(&token.name),
    }
}

fn session_line(fleet: &Fleet<'_>, session: &SessionInfo) -> SessionLine {
    let sentence = format!("The browser at {} is signed out at once, and asks for the password.", session.address);
    let does = Does::delete(
        format!("/api/v1/sessions/{}", session.id),
        "End the session".to_owned(),
        sentence,
        "End the session",
    );
    SessionLine {
        id: format!("session:{}", session.id),
        browser: browser(&session.browser),
        whole: session.browser.clone(),
        address: session.address.clone(),
        since: words::ago(session.created_at, fleet.now),
        seen: words::ago(session.last_seen, fleet.now),
        current: session.current,
        end: Button::new("End", "small", does).of(&format!("the session from {}", session.address)),
    }
}

/// "Firefox on Linux", of what a browser calls itself.
fn browser(agent: &str) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Mac OS X", "macOS"),
        ("Windows", "Windows"),
        ("Linux", "Linux"),
    ];
    let find = |all: &[(&str, &'static str)]| all.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "A browser".to_owned(),
    }
}

fn kept(fleet: &Fleet<'_>, page: &SettingsPage<'_>) -> Vec<(&'static str, String)> {
    let days = |span: std::time::Duration| match span.as_secs() / 86_400 {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let soon = || "not looked at yet".to_owned();
    let mut all = vec![("Hosts and tokens", "until someone removes them".to_owned())];
    if let Some(kept) = page.kept {
        let commands = format!(
            "{} after their end; the last 50, and what a light stands on, for longer",
            days(kept.retention.commands)
        );
        all.push(("Commands and logs", commands));
        all.push(("Events", days(kept.retention.events)));
        let last = kept.last.as_ref();
        let size = |size: fn(&crate::actors::janitor::Done) -> u64| {
            last.map_or_else(soon, |(_, done)| words::bytes(size(done)))
        };
        all.push(("The store takes", size(|done| done.store_size)));
        all.push(("Logs take", size(|done| done.logs_size)));
        all.push(("Last tidied", last.map_or_else(soon, |(at, _)| words::moment(*at))));
        all.push((
            "Last compacted",
            kept.compacted.map_or_else(
                || "not needed since the start".to_owned(),
                |(at, it)| {
                    format!("{}, from {} to {}", words::moment(at), words::bytes(it.before), words::bytes(it.after))
                },
            ),
        ));
    }
    if let Some(free) = page.free {
        all.push(("Room on the disk", words::bytes(free)));
    }
    all.push(("Data directory", page.data_dir.to_owned()));
    let never = "none is known: nixfleet backup FILE makes one".to_owned();
    all.push(("Last backup", page.backup.map_or(never, words::moment)));
    let hosts = fleet.state.hosts.len();
    all.push(("Hosts", hosts.to_string()));
    all
}

#[derive(Template)]
#[template(path = "about.html")]
struct About {
    version: String,
    build: String,
    epoch: String,
    started: words::Ago,
    trouble: String,
    licences: Vec<(&'static str, &'static str, String)>,
}

/// What this is, and how it is.
pub(super) fn about(fleet: &Fleet<'_>) -> String {
    let server = &fleet.state.server;
    let kind = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    let commit = option_env!("NIXFLEET_SOURCE_COMMIT").unwrap_or("of no named commit");
    let licence = |name, terms, file| (name, terms, asset_url(file));
    html(&About {
        version: server.version.clone(),
        build: format!("{kind} {commit}, {} on {}", std::env::consts::ARCH, std::env::consts::OS),
        epoch: fleet.epoch.to_string(),
        started: words::ago(server.started_at, fleet.now),
        trouble: server.store_error.clone().unwrap_or_default(),
        licences: vec![
            licence("Atkinson Hyperlegible Next", "SIL OFL 1.1", "vendor/atkinson-next.LICENSE.txt"),
            licence("Atkinson Hyperlegible Mono", "SIL OFL 1.1", "vendor/atkinson-mono.LICENSE.txt"),
            licence("Idiomorph", "0BSD", "vendor/idiomorph.LICENSE.txt"),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_in_two_words() {
        for (agent, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            ("curl/8.9", "curl"),
            ("", "A browser"),
        ] {
            assert_eq!(browser(agent), name);
        }
    }
}
