//! The made-up settings: tokens of each kind, browsers, channels of notifications.

use std::sync::LazyLock;

use nixfleet_model::retention::Retention;
use nixfleet_protocol::api::{NotificationChannel, NotificationError};

use super::super::SettingsPage;
use super::ago;
use crate::actors::access::{SessionInfo, TokenInfo};
use crate::actors::janitor::{Done, Kept};
use crate::actors::store::Scope;

/// The settings of a fleet with tokens of each kind and two browsers.
pub(in super::super) fn settings() -> SettingsPage<'static> {
    static TOKENS: LazyLock<[TokenInfo; 3]> = LazyLock::new(|| {
        let token = |n: u32, kind, name: &str, host: Option<&str>, scopes: &[Scope]| TokenInfo {
            id: format!("01920000-0000-7000-8000-{n:012x}"),
            kind,
            name: name.to_owned(),
            host: host.and_then(|host| host.parse().ok()),
            scopes: scopes.to_vec(),
            created_at: ago(90_000),
            last_used: host.map(|_| ago(40)),
            expires_at: host.is_none().then(|| ago(-2_000_000)),
        };
        [
            token(1, "host", "hsb0", Some("hsb0"), &[]),
            token(2, "api", "prometheus", None, &[Scope::Metrics]),
            token(3, "enrol", "the new rack", None, &[]),
        ]
    });
    static SESSIONS: LazyLock<[SessionInfo; 2]> = LazyLock::new(|| {
        let session = |n: u32, browser: &str, address: &str, current| SessionInfo {
            id: format!("01920000-0000-7000-8000-{n:012x}"),
            user: "user".to_owned(),
            created_at: ago(9_000),
            last_seen: ago(30),
            expires_at: ago(-70_000),
            address: address.to_owned(),
            browser: browser.to_owned(),
            current,
        };
        [
            session(1, "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "192.0.2.7", true),
            session(2, "Mozilla/5.0 (iPhone) Safari/605.1", "198.51.100.20", false),
        ]
    });
    static KEPT: LazyLock<Kept> = LazyLock::new(|| {
        let done = Done { store_size: 73_400_320, logs_size: 12_200_000, ..Done::default() };
        Kept { retention: Retention::default(), last: Some((ago(700), Box::new(done))), compacted: None }
    });
    static CHANNELS: LazyLock<Vec<NotificationChannel>> = LazyLock::new(|| {
        let channel = |name: &str, kind: &str, to: &str| NotificationChannel {
            name: name.to_owned(),
            kind: kind.to_owned(),
            to: to.to_owned(),
            events: Vec::new(),
            levels: Vec::new(),
            hosts: Vec::new(),
            tags: Vec::new(),
            quiet: None,
            quiet_until: None,
            waiting: 0,
            retry_at: None,
            last_success: Some(ago(4000)),
            last_error: None,
        };
        let why = "chat.example.org can't be reached: connection refused".to_owned();
        vec![
            NotificationChannel {
                events: vec!["host_gone".to_owned(), "command_failed".to_owned()],
                tags: vec!["prod".to_owned()],
                quiet: Some("22:00 to 07:00 (Europe/Vienna)".to_owned()),
                ..channel("phone", "ntfy", "ntfy.sh")
            },
            NotificationChannel {
                waiting: 3,
                retry_at: Some(ago(-40)),
                last_error: Some(NotificationError { at: ago(20), message: why }),
                ..channel("chat", "webhook", "chat.example.org")
            },
            channel("mail", "mail", "ops@example.org"),
        ]
    });
    SettingsPage {
        channels: &CHANNELS,
        tokens: &*TOKENS,
        sessions: &*SESSIONS,
        totp: false,
        fresh: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        kept: Some(&KEPT),
        data_dir: "/var/lib/nixfleet",
        free: Some(212_000_000_000),
        backup: Some(ago(50_000)),
    }
}
