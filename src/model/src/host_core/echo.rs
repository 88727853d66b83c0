//! Results of old agents, which name no id. A second `status` for one command can come, and the host may run the same
//! op again by then: such a one must not end a command that has not begun.
//!
//! A result counts at once where it can't be an echo, or where the command gave a sign of life: output, progress, a
//! heartbeat that names its op. Else it waits for a heartbeat that is younger than the command: `pending_command` says
//! that it runs, and then the result was an echo; nothing says that it was short and silent. Of two that came the
//! second is its own. A link that breaks takes what waits with it; the first heartbeat on the next one decides.

use std::time::Duration;

use nixfleet_protocol::agent::Status;
use nixfleet_protocol::{CommandId, Time};

use super::{Core, Step};
use crate::ops;

/// By then an old agent that got a command says in its heartbeats that it runs, or has ended it.
const HAS_BEGUN: Duration = Duration::from_secs(3);

/// What is known of an old agent's results on one link.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The word of the result that was taken last.
    last: Option<String>,
    /// The command that a heartbeat named since it was sent.
    alive: Option<CommandId>,
    /// A result that may be an echo, and the command that it would end.
    held: Option<(CommandId, Box<Status>)>,
}

impl Core {
    /// Whether an old agent's result is to be taken now; else it is held.
    pub(super) fn is_no_echo(&mut self, id: CommandId, status: &Status) -> bool {
        let Some(command) = self.open.as_deref().filter(|open| open.id == id) else { return true };
        let word = ops::spec(command.op).v2.unwrap_or(command.op.as_str()).to_owned();
        let lives = command.log_bytes > 0 || command.progress.is_some();
        let Some(link) = self.link.as_mut().filter(|link| link.protocol < 3) else { return true };
        let echo = &mut link.echo;
        let may_be = echo.last.as_ref().is_some_and(|last| status.command.is_empty() || status.command == *last);
        let second = echo.held.take().is_some_and(|(held, _)| held == id);
        if may_be && !lives && !second && echo.alive != Some(id) {
            echo.held = Some((id, Box::new(status.clone())));
            return false;
        }
        echo.last = Some(word);
        true
    }

    /// A heartbeat of an old agent: what is held is an echo, or a result.
    pub(super) fn settle_echo(&mut self, now: Time, step: &mut Step) {
        let Some(open) = self.open.as_deref().filter(|open| !open.waits()) else { return };
        let (id, sent) = (open.id, open.sent_at);
        let word = ops::spec(open.op).v2.unwrap_or(open.op.as_str());
        let runs = self.record.facts.pending.as_deref() == Some(word);
        let begun = sent.is_none_or(|sent| now.since(sent) >= HAS_BEGUN);
        let Some(link) = self.link.as_mut().filter(|link| link.protocol < 3) else { return };
        if runs {
            link.echo.alive = Some(id);
            link.echo.held = None;
        } else if begun && let Some((held, status)) = link.echo.held.take() {
            // One of a command that was given up says something of the host, and nothing of this command.
            if held == id {
                link.echo.last = Some(word.to_owned());
            }
            self.take_result(held, &status, now, step);
        }
    }
}
