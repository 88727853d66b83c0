//! People in a hurry: one thread for each host asks for ops, stops some of them, and writes down what was accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::api::Api;
use crate::dice::Dice;
use crate::told::{Told, count};

/// What is asked for, and how often.
const OPS: &[(u64, &str)] = &[(30, "switch"), (20, "pull"), (14, "test"), (6, "rollback"), (5, "restart")];

/// Starts the client of a host. It ends when `over` is set.
pub(crate) fn start(api: Api, host: String, dice: Dice, told: &Arc<Told>, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (told, over) = (Arc::clone(told), Arc::clone(over));
    thread::spawn(move || {
        let mut client = Client { api, host, dice, last: None };
        while !over.load(Ordering::Acquire) {
            client.act(&told);
            thread::sleep(Duration::from_millis(client.dice.between(10, 350)));
        }
    })
}

struct Client {
    api: Api,
    host: String,
    dice: Dice,
    last: Option<String>,
}

impl Client {
    fn act(&mut self, told: &Told) {
        if self.dice.once_in(9)
            && let Some(id) = self.last.clone()
        {
            told.stop_asked.lock().unwrap().insert(id.clone());
            let answer = self.api.post(&format!("/api/v1/commands/{id}/stop"), &json!({}));
            return Self::note(told, answer.map(|(status, _)| status));
        }
        if self.dice.once_in(15) {
            let color = format!("#{:06x}", self.dice.below(1 << 24));
            let path = format!("/api/v1/hosts/{}/ops/set-color", self.host);
            let answer = self.api.post(&path, &json!({ "args": { "color": color } }));
            return Self::note(told, answer.map(|(status, _)| status));
        }
        let op = self.dice.pick(OPS);
        // Mostly what can be done; what is refused anyway shows nothing new.
        if !self.dice.once_in(10) && !self.can_begin() {
            return;
        }
        // Forced mostly: what is current already would be refused.
        let force = !self.dice.once_in(4);
        let answer = self.api.post(&format!("/api/v1/hosts/{}/ops/{op}", self.host), &json!({ "force": force }));
        Self::note(told, answer.as_ref().map(|(status, _)| *status));
        if let Some((202, command)) = answer {
            let id = command["id"].as_str().unwrap().to_owned();
            told.accepted.lock().unwrap().insert(id.clone(), self.host.clone());
            self.last = Some(id);
        }
    }

    fn can_begin(&self) -> bool {
        let host = self.api.get(&format!("/api/v1/hosts/{}", self.host));
        host.is_some_and(|(_, host)| host["state"] == "online" && host["command"].is_null())
    }

    fn note(told: &Told, status: Option<u16>) {
        match status {
            None => count(&told.unanswered),
            Some(200..300) => {}
            Some(_) => count(&told.refused),
        }
    }
}
