//! Those who are sent the state: tabs and API clients, through their sessions. A change is encoded once for each view
//! that anyone has. Nobody is waited for: an outbox that is full is caught up later, with everything.
//!
//! They are known to one life of the sync actor: after its death the sessions subscribe anew.

use std::collections::HashMap;

use nixfleet_protocol::api::Host;
use nixfleet_protocol::browser::{Change, Resume};
use serde::Serialize;

use super::payload::{Delta, Deltas, Missed, Nothing, Whole};
use super::{Outbox, State, View, outbox};

/// One of them.
pub(super) struct Subscriber {
    pub(super) view: View,
    pub(super) outbox: Outbox,
}

/// More changes than these are not rendered one by one for a page that was away: all of it is less work.
const MOST_RENDERED: usize = 64;
/// How many wholes are kept for others who ask.
const MADE: usize = 4;

/// What takes milliseconds is done on the thread of the agents: they are heard between one and the next.
pub(super) async fn breath() {
    tokio::task::yield_now().await;
}

/// The whole state of this version, as it was sent to somebody.
pub(super) struct Made {
    kind: &'static str,
    view: View,
    frame: outbox::Frame,
}

impl State {
    /// One encoding for each view that anyone has, then a cheap clone for each subscriber.
    pub(super) fn fan_out(&self, change: &Change, before: Option<&Host>) {
        if self.subscribers.is_empty() {
            return;
        }
        let mut made: HashMap<&View, outbox::Frame> = HashMap::new();
        for subscriber in self.subscribers.values() {
            let frame = made.entry(&subscriber.view).or_insert_with(|| match &subscriber.view {
                View::Json => self.frame("delta", &Delta::Json { change }),
                View::Html(page) => {
                    let fragments = self.render.fragments(change, before, &self.fleet, page);
                    self.frame("delta", &Delta::Html { fragments })
                }
            });
            subscriber.outbox.offer(frame);
        }
    }

    fn frame(&self, kind: &str, payload: &impl Serialize) -> outbox::Frame {
        outbox::frame(kind, self.version, self.epoch, payload)
    }

    pub(super) async fn subscribe(&mut self, id: u64, view: View, outbox: Outbox, resume: Option<Resume>) {
        self.subscribers.insert(id, Subscriber { view, outbox });
        match resume {
            Some(from) => self.resume(id, &from).await,
            None => self.send_state(id, "init").await,
        }
    }

    /// Made once for all who ask at one version: after a restart a thousand tabs do. Who has not taken the last one yet
    /// is given none.
    pub(super) async fn send_state(&mut self, id: u64, kind: &'static str) {
        let Some(subscriber) = self.subscribers.get(&id).filter(|it| !it.outbox.has_whole()) else { return };
        let view = &subscriber.view;
        if let Some(made) = self.whole.iter().find(|made| made.kind == kind && made.view == *view) {
            return subscriber.outbox.catch_up(&made.frame);
        }
        let payload = match view {
            View::Json => Whole::Json { state: self.fleet.to_wire() },
            View::Html(page) => Whole::Html { fragments: self.render.everything(&self.fleet, page) },
        };
        let frame = self.frame(kind, &payload);
        subscriber.outbox.catch_up(&frame);
        let made = Made { kind, view: view.clone(), frame };
        self.whole.truncate(MADE - 1);
        self.whole.insert(0, made);
        breath().await;
    }

    pub(super) async fn resume(&mut self, id: u64, from: &Resume) {
        let Some(subscriber) = self.subscribers.get(&id) else { return };
        let missed = (from.epoch == self.epoch).then(|| self.ring.after(from.version, self.version, &self.fleet));
        let whole_is_less = |missed: &Vec<_>| matches!(subscriber.view, View::Html(_)) && missed.len() > MOST_RENDERED;
        let Some(missed) = missed.flatten().filter(|missed| !whole_is_less(missed)) else {
            return self.send_state(id, "full_state").await;
        };
        let mut deltas = Vec::with_capacity(missed.len());
        for (version, change) in &missed {
            let delta = match &subscriber.view {
                View::Json => Delta::Json { change },
                View::Html(page) => {
                    let fragments = self.render.fragments(change, None, &self.fleet, page);
                    breath().await;
                    Delta::Html { fragments }
                }
            };
            deltas.push(Missed { version: *version, delta });
        }
        subscriber.outbox.catch_up(&self.frame("deltas", &Deltas { deltas }));
    }

    pub(super) fn beacon(&self) {
        let frame = self.frame("sync", &Nothing {});
        for subscriber in self.subscribers.values() {
            subscriber.outbox.offer(&frame);
        }
    }
}
