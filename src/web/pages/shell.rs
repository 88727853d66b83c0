//! What stands around every page of a session: head, bar, sprite, dialogs, log dock, and where the live part begins
//! (page, epoch and version, from which the script goes on).

use askama::Template;

use super::{Fleet, PageKind, Session, asset_url, assets, forms, html, said};

/// The parts before and after a page's own content.
pub(super) struct Shell {
    pub(super) top: String,
    pub(super) bottom: String,
}

#[derive(Template)]
#[template(path = "top.html")]
struct Top<'a> {
    title: &'a str,
    head: String,
    csrf_token: &'a str,
    page: String,
    epoch: String,
    version: u64,
    on_fleet: bool,
    on_events: bool,
    on_settings: bool,
    product: &'a str,
    build: String,
    said: String,
}

#[derive(Template)]
#[template(path = "head.html")]
struct Head {
    css: String,
    theme: String,
    icon: String,
    font: String,
    mono: String,
    live: bool,
    morph: String,
    app: String,
}

#[derive(Template)]
#[template(path = "bottom.html")]
struct Bottom<'a> {
    forms: &'a str,
    source: &'a str,
}

/// Where a new host's configuration comes from: the repository that the dashboard reads, or an example of one.
pub(super) fn source<'a>(fleet: &Fleet<'a>) -> &'a str {
    fleet.state.remote.source.as_deref().unwrap_or("https://git.example/me/config.git")
}

/// The links in the head of every page. Only pages of a session have a script beside the theme's.
pub(super) fn head(live: bool) -> String {
    html(&Head {
        css: asset_url("app.css"),
        theme: asset_url("theme.js"),
        icon: asset_url("icon.svg"),
        font: asset_url("vendor/atkinson-next.woff2"),
        mono: asset_url("vendor/atkinson-mono.woff2"),
        live,
        morph: asset_url("vendor/idiomorph.min.js"),
        app: asset_url("app.js"),
    })
}

/// Which build this is of, by its static files: a tab that has the script of another one loads itself anew.
pub(super) fn build() -> String {
    format!("<i id=\"build\" hidden>{}</i>", assets::build())
}

pub(super) fn shell(fleet: &Fleet<'_>, title: &str, page: &PageKind, session: Session<'_>) -> Shell {
    static FORMS: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| forms::all().iter().map(html).collect());
    let top = html(&Top {
        title,
        head: head(true),
        csrf_token: session.csrf_token,
        page: page.to_string(),
        epoch: fleet.epoch.to_string(),
        version: fleet.version.0,
        on_fleet: *page == PageKind::Fleet,
        on_events: matches!(page, PageKind::Events | PageKind::Search(_)),
        on_settings: *page == PageKind::Settings,
        product: &fleet.state.server.version,
        build: build(),
        said: said::said(fleet),
    });
    Shell { top, bottom: html(&Bottom { forms: &FORMS, source: source(fleet) }) }
}
