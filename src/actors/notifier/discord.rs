//! Discord: an embed to a webhook, which mentions nobody whatever a message says.
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>

use std::time::Duration;

use nixfleet_model::notify::{Failure, Letter, Taken};
use nixfleet_protocol::api::Level;
use serde_json::json;

use super::sending::{cut, exchange, post};
use crate::config::Secret;

/// Characters of a title.
const TITLE: usize = 256;
/// Characters of a text: an embed may have more, a message may not.
const TEXT: usize = 2000;

pub(super) async fn send(url: &Secret, letter: &Letter, within: Duration) -> Result<Taken, Failure> {
    let color = match letter.level {
        Level::Error => 0x00c0_392b,
        Level::Warn => 0x00d6_8910,
        Level::Success => 0x001e_8449,
        Level::Info => 0x0024_71a3,
    };
    let mut embed = json!({
        "title": cut(&letter.title, TITLE),
        "description": cut(&letter.text, TEXT),
        "color": color,
        "timestamp": letter.at,
        "footer": { "text": letter.id },
    });
    if let Some(url) = &letter.url {
        embed["url"] = json!(url);
    }
    let body = json!({ "username": "NixFleet", "allowed_mentions": { "parse": [] }, "embeds": [embed] });
    exchange(post(url), body.to_string().into_bytes(), within).await
}
