//! How people are told: the channels as they are, and a letter to try one.

use hyper::StatusCode;
use nixfleet_protocol::api::{NotificationChannel, NotificationError, NotificationList, NotificationTested};

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};
use crate::actors::notifier::{ChannelView, Tested};

/// Most characters of a channel's name that are said back.
const NAME: usize = 40;

/// `GET /api/v1/notifications`.
pub(in crate::web) async fn list(app: &App) -> Result<Answer, Refused> {
    let channels = app.handles.notifier.channels().await?.into_iter().map(shown).collect();
    Answer::ok(&NotificationList { channels })
}

/// `POST /api/v1/notifications/{channel}/test`: answers with what the receiver said, or that it said nothing in time.
pub(in crate::web) async fn test(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let channel: String = asked.matched.text("channel")?.chars().take(NAME).collect();
    match app.handles.notifier.test(channel.clone(), asked.caller.actor()).await? {
        Tested::Taken => {
            let message = format!("{channel} took the test notification.");
            Answer::ok(&NotificationTested { channel, message })
        }
        Tested::NotTaken(why) => {
            let message = format!("{channel} did not take the test notification: {why}.");
            Err(Refused::new(StatusCode::BAD_GATEWAY, "notification_failed", message))
        }
        Tested::NoSuchChannel => {
            let message = format!("There is no channel called {channel}.");
            Err(Refused::new(StatusCode::NOT_FOUND, "no_such_channel", message))
        }
        Tested::Busy => {
            let message = format!("A test of {channel} is on its way already: wait for what becomes of it.");
            Err(Refused::new(StatusCode::CONFLICT, "test_under_way", message))
        }
    }
}

/// A channel as the API says it.
pub(in crate::web) fn shown(view: ChannelView) -> NotificationChannel {
    let ChannelView { name, kind, to, rules, quiet, lane } = view;
    NotificationChannel {
        name,
        kind: kind.to_owned(),
        to,
        events: rules.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        levels: rules.levels,
        hosts: rules.hosts,
        tags: rules.tags,
        quiet,
        quiet_until: lane.quiet_until,
        waiting: lane.waiting,
        retry_at: lane.retry_at,
        last_success: lane.last_success,
        last_error: lane.last_error.map(|(at, message)| NotificationError { at, message }),
    }
}
