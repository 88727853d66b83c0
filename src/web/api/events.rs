//! The audit log, newest first.

use std::sync::Arc;

use nixfleet_protocol::api::Event;
use nixfleet_protocol::{EventId, HostId, Version};
use serde::Serialize;

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked, Query};
use super::limit;

/// Events that are read from the store at a time.
const PAGE: usize = 500;
/// Pages that one request looks through at most, when it filters.
const PAGES: usize = 20;

#[derive(Serialize)]
struct Events {
    version: Version,
    events: Vec<Arc<Event>>,
}

struct Filter {
    host: Option<HostId>,
    category: Option<String>,
    level: Option<String>,
    action: Option<String>,
    words: Option<String>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Refused> {
        Ok(Self {
            host: query.read("host")?,
            category: query.get("category").map(str::to_owned),
            level: query.get("level").map(str::to_owned),
            action: query.get("action").map(str::to_owned),
            words: query.get("q").map(str::to_lowercase),
        })
    }

    fn is_none(&self) -> bool {
        let Self { host, category, level, action, words } = self;
        host.is_none() && category.is_none() && level.is_none() && action.is_none() && words.is_none()
    }

    fn takes(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|wanted| wanted == word);
        self.host.as_ref().is_none_or(|host| event.host.as_ref() == Some(host))
            && same(&self.category, word(event.category))
            && same(&self.level, level(event.level))
            && same(&self.action, &event.action)
            && self.words.as_ref().is_none_or(|words| event.message.to_lowercase().contains(words))
    }
}

fn word(category: nixfleet_protocol::api::Category) -> &'static str {
    use nixfleet_protocol::api::Category::{Audit, Error, System};
    match category {
        Audit => "audit",
        System => "system",
        Error => "error",
    }
}

fn level(level: nixfleet_protocol::api::Level) -> &'static str {
    use nixfleet_protocol::api::Level::{Error, Info, Success, Warn};
    match level {
        Info => "info",
        Warn => "warn",
        Error => "error",
        Success => "success",
    }
}

/// `GET /api/v1/events?host=&category=&level=&action=&q=&limit=&before=`.
pub(in crate::web) async fn list(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let filter = Filter::read(&asked.query)?;
    let mut before = asked.query.read::<EventId>("before")?;
    let limit = limit(&asked.query)?;
    let mut events = Vec::new();
    let page = if filter.is_none() { limit } else { PAGE };
    for _ in 0..PAGES {
        let read = app.handles.store.events(before, page).await?;
        let last = read.len() < page;
        before = read.last().map(|event| event.id);
        events.extend(read.into_iter().filter(|event| filter.takes(event)).take(limit - events.len()));
        if last || events.len() == limit {
            break;
        }
    }
    let version = app.handles.sync.snapshot().await?.version;
    Answer::ok(&Events { version, events })
}
