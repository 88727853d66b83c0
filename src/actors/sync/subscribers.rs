//! Those who are sent the state: tabs and API clients, through their sessions. A change is encoded once for each view
//! that anyone has. Nobody is waited for: an outbox that is full is caught up later, with everything.
//!
//! They are known to one life of the sync actor: after its death the sessions subscribe anew.

use std::collections::HashMap;

use nixfleet_protocol::Version;
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

/// The whole state as it was sent last.
pub(super) struct Made {
    version: Version,
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

    pub(super) fn subscribe(&mut self, id: u64, view: View, outbox: Outbox, resume: Option<Resume>) {
        self.subscribers.insert(id, Subscriber { view, outbox });
        match resume {
            Some(from) => self.resume(id, &from),
            None => self.send_state(id, "init"),
        }
    }

    /// Made once for all who ask at one version: after a restart a thousand tabs do.
    pub(super) fn send_state(&mut self, id: u64, kind: &'static str) {
        let Some(subscriber) = self.subscribers.get(&id) else { return };
        let frame = match self.whole.take() {
            Some(made) if made.version == self.version && made.kind == kind && made.view == subscriber.view => {
                made.frame
            }
            Some(_) | None => {
                let payload = match &subscriber.view {
                    View::Json => Whole::Json { state: self.fleet.to_wire() },
                    View::Html(page) => Whole::Html { fragments: self.render.everything(&self.fleet, page) },
                };
                self.frame(kind, &payload)
            }
        };
        subscriber.outbox.catch_up(&frame);
        self.whole = Some(Made { version: self.version, kind, view: subscriber.view.clone(), frame });
    }

    pub(super) fn resume(&mut self, id: u64, from: &Resume) {
        let Some(subscriber) = self.subscribers.get(&id) else { return };
        let missed = (from.epoch == self.epoch).then(|| self.ring.after(from.version, self.version, &self.fleet));
        let missed = missed.flatten();
        let Some(missed) = missed else { return self.send_state(id, "full_state") };
        let deltas = missed
            .iter()
            .map(|(version, change)| {
                let delta = match &subscriber.view {
                    View::Json => Delta::Json { change },
                    View::Html(page) => {
                        Delta::Html { fragments: self.render.fragments(change, None, &self.fleet, page) }
                    }
                };
                Missed { version: *version, delta }
            })
            .collect();
        subscriber.outbox.catch_up(&self.frame("deltas", &Deltas { deltas }));
    }

    pub(super) fn beacon(&self) {
        let frame = self.frame("sync", &Nothing {});
        for subscriber in self.subscribers.values() {
            subscriber.outbox.offer(&frame);
        }
    }
}
