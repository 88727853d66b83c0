//! Writes every page with the made-up fleet into a folder, to be looked at in a browser:
//! `NIXFLEET_PREVIEW=/tmp/preview cargo test -p nixfleet --lib web::pages::preview`. Without the variable it only
//! renders them.

use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::api::Host;
use nixfleet_protocol::{Time, Version};

use super::{
    ErrorPage, Fleet, LoginPage, Session, Stored, command_page, error_page, fleet_page, host_page, login_page,
    run_page, sample,
};

fn view<'a>(state: &'a FleetState, ops: &'a [nixfleet_protocol::api::OpEntry]) -> Fleet<'a> {
    Fleet {
        state,
        ops,
        pipelines: sample::pipelines(),
        refused: &sample::refused,
        version: Version(7),
        epoch: "01920000-0000-7000-8000-0000000000ee".parse().unwrap(),
        now: sample::NOW,
    }
}

/// Enough hosts for two screens.
fn many() -> FleetState {
    let mut state = sample::state();
    let few = state.hosts.clone();
    for round in 1..5 {
        for host in few.values().map(|view| &view.host) {
            let host = Host { id: format!("{}-{round}", host.id).parse().unwrap(), ..Host::clone(host) };
            sample::put(&mut state, host);
        }
    }
    state
}

#[test]
fn every_page_renders() {
    let ops = sample::op_entries();
    let state = sample::state();
    let fleet = view(&state, &ops);
    let session = Session { csrf_token: "preview" };
    let commands = sample::week();
    let of = |name: &str| {
        let commands = match name {
            "nuc-den" => Vec::new(),
            "hsb8" => sample::dense(),
            _ => commands.clone(),
        };
        host_page(
            &fleet,
            &state.hosts[&name.parse().unwrap()].host,
            &Stored { commands: &commands, ..Stored::default() },
            session,
        )
    };
    let mut unreadable = sample::state();
    unreadable.remote = Arc::new(nixfleet_protocol::api::Remote {
        error: Some("since 14:02: could not connect to git.example: connection timed out".to_owned()),
        read_at: Some(sample::ago(1_500)),
        ..sample::remote()
    });
    unreadable.server = Arc::new(nixfleet_protocol::api::Server { shared_agent_token: true, ..sample::server() });
    let reverted = super::tests::update::merged(sample::state(), &["hsb0", "hsb8"]);
    let (empty, many, story) = (sample::empty(), many(), sample::story());
    let failed = state.commands.values().find(|command| command.exit_code == Some(4)).unwrap();
    let pages = [
        ("story", fleet_page(&view(&story, &ops), session)),
        (
            "story-host",
            host_page(
                &view(&story, &ops),
                &story.hosts[&"atlas".parse().unwrap()].host,
                &Stored { commands: &sample::dense(), ..Stored::default() },
                session,
            ),
        ),
        ("fleet", fleet_page(&fleet, session)),
        ("empty", fleet_page(&view(&empty, &ops), session)),
        ("reverted", fleet_page(&view(&reverted, &ops), session)),
        ("unreadable", fleet_page(&view(&unreadable, &ops), session)),
        ("many", fleet_page(&view(&many, &ops), session)),
        ("host", of("csb0")),
        ("host-busy", of("hsb1")),
        ("host-dense", of("hsb8")),
        ("host-new", of("nuc-den")),
        ("host-quiet", of("hsb0")),
        ("host-away", of("mba-air")),
        ("events", super::tests::page(&fleet, &super::PageKind::Events)),
        ("settings", super::settings_page(&fleet, sample::settings(), session)),
        ("command", command_page(&fleet, failed, session)),
        ("run", run_page(&fleet, state.runs.values().rev().nth(1).unwrap(), session)),
        ("run-halted", run_page(&fleet, state.runs.values().next_back().unwrap(), session)),
        ("login", login_page(LoginPage { csrf_token: "x", totp: true, error: Some("That was not right. Try again.") })),
        (
            "error",
            error_page(ErrorPage {
                status: 404,
                title: "No such host",
                detail: "The fleet has no host named hsb9. It may have been removed.",
            }),
        ),
    ];
    for (name, page) in &pages {
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{name}");
        if let Some(folder) = std::env::var_os("NIXFLEET_PREVIEW") {
            // Times are moved to today, so that "12 s ago" reads as it would.
            let shift = Time::now().millis() - sample::NOW.millis();
            let folder = std::path::PathBuf::from(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.html")), moved(page, shift)).unwrap();
        }
    }
    if let Some(folder) = std::env::var_os("NIXFLEET_PREVIEW") {
        let names = ["app.js", "theme.js", "app.css", "icon.svg", "vendor/idiomorph.min.js"];
        for name in names.into_iter().chain(["vendor/atkinson-next.woff2", "vendor/atkinson-mono.woff2"]) {
            let path = std::path::Path::new(&folder).join("static").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, super::asset(name).unwrap().plain).unwrap();
        }
    }
}

fn moved(page: &str, shift: i64) -> String {
    let mut parts = page.split("datetime=\"");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').unwrap();
        let time = Time::from_millis(time.parse::<Time>().unwrap().millis() + shift);
        out.extend(["datetime=\"", &time.to_string(), "\"", rest]);
    }
    out
}
