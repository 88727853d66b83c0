//! The audit log, newest first: a page of it, or all of it as lines.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header;
use nixfleet_model::event::EventFilter;
use nixfleet_protocol::api::Event;
use nixfleet_protocol::{EventId, Time, Version};
use serde::Serialize;

use super::super::answer::{Answer, Content};
use super::super::problem::Refused;
use super::super::{App, Asked, Query};
use super::limit;
use crate::actors::store::{StoreError, StoreHandle};

/// Events that are read from the store at a time.
const PAGE: usize = 500;
/// Pages that one request looks through at most, when it filters. Whoever wants more goes on from `next`.
const PAGES: usize = 200;

#[derive(Serialize)]
struct Listed {
    version: Version,
    events: Vec<Arc<Event>>,
    next: Option<EventId>,
}

/// Events that a filter takes.
pub(in crate::web) struct Found {
    /// Newest first.
    pub(in crate::web) events: Vec<Arc<Event>>,
    /// Before which number to go on; none: there are no more.
    pub(in crate::web) next: Option<EventId>,
}

/// The filter of an address.
pub(in crate::web) fn filter(query: &Query) -> Result<EventFilter, Refused> {
    EventFilter::read(|name| query.get(name), Time::now()).map_err(Refused::bad)
}

/// Up to `limit` events before a number, of all that is stored.
pub(in crate::web) async fn find(
    store: &StoreHandle,
    filter: &EventFilter,
    mut before: Option<EventId>,
    limit: usize,
) -> Result<Found, StoreError> {
    let mut found = Found { events: Vec::new(), next: None };
    for _ in 0..PAGES {
        let page = if filter.is_empty() { limit } else { PAGE };
        let read = store.events(before, page).await?;
        let more = read.len() == page && !is_before(filter, &read);
        before = read.last().map(|event| event.id);
        for event in read {
            if filter.takes(&event) {
                let id = event.id;
                found.events.push(event);
                if found.events.len() == limit {
                    return Ok(Found { next: Some(id), ..found });
                }
            }
        }
        if !more {
            return Ok(found);
        }
    }
    Ok(Found { next: before, ..found })
}

/// Whether all of these, and so all that are older, are before the time that is asked for.
fn is_before(filter: &EventFilter, events: &[Arc<Event>]) -> bool {
    filter.since.is_some_and(|since| events.iter().all(|event| event.time < since))
}

/// `GET /api/v1/events?…`.
pub(in crate::web) async fn list(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let filter = filter(&asked.query)?;
    let before = asked.query.read::<EventId>("before")?;
    match asked.query.get("format") {
        None | Some("json") => {}
        Some("ndjson") => return Ok(lines(app, filter, before)),
        Some(_) => return Err(Refused::bad("format: expected json or ndjson.")),
    }
    let Found { events, next } = find(&app.handles.store, &filter, before, limit(&asked.query)?).await?;
    let version = app.handles.sync.snapshot().await?.version;
    Answer::ok(&Listed { version, events, next })
}

/// All of them, one in a line. What can't be read breaks the connection: half of a file must not look like all of it.
fn lines(app: &App, filter: EventFilter, before: Option<EventId>) -> Answer {
    let store = app.handles.store.clone();
    let from = Some((store, filter, before));
    let stream = futures_util::stream::unfold(from, |from| async move {
        let (store, filter, before) = from?;
        let found = match find(&store, &filter, before, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the export of events ends before its end");
                return Some((Err(std::io::Error::other(error)), None));
            }
        };
        let mut text = Vec::with_capacity(found.events.len() * 256);
        for event in &found.events {
            // Writing to memory can't fail, and an event has only what JSON knows.
            if serde_json::to_writer(&mut text, event).is_ok() {
                text.push(b'\n');
            }
        }
        let from = found.next.map(|next| (store, filter, Some(next)));
        Some((Ok(Frame::data(Bytes::from(text))), from))
    });
    let mut answer = Answer::empty(StatusCode::OK);
    answer.set(header::CONTENT_TYPE, "application/x-ndjson");
    answer.set(header::CONTENT_DISPOSITION, "attachment; filename=\"nixfleet-events.ndjson\"");
    answer.content = Content::Stream(StreamBody::new(stream).boxed_unsync());
    answer
}
