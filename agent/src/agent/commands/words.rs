//! What the dashboard is told about a command that is not begun: why not, or how it ended long ago. Pure.

use std::io;

use nixfleet_protocol::agent::Status;

use crate::journal::JournalError;
use crate::journal::past::Past;
use crate::record::Stage;

/// The word for a command that ran here before and of which nothing else is known: it ends as `ORPHANED`.
pub(super) const FORGOTTEN: &str = "forgotten";

/// Why a command could not be written down, for the person who asked for it.
pub(super) fn refused(error: &JournalError) -> String {
    let (place, kind) = (error.path.display(), error.source.kind());
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return format!(
            "agent_disk_full: the disk of the agent's state directory is full, so nothing was begun: free some space \
             for {place}, and try again"
        );
    }
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        return format!("agent_disk_read_only: {place} can't be written, so nothing was begun");
    }
    crate::chain(error)
}

/// The result of a command of which only its line is left. Its log is gone, so it ends where any log is.
pub(super) fn status_of(past: Past) -> Status {
    let outcome_word = match (past.exit_code, past.stage) {
        (0, _) => "ok",
        (_, Some(Stage::Stopped)) => "stopped",
        _ => "error",
    };
    Status {
        status: outcome_word.into(),
        command: past.word,
        exit_code: Some(past.exit_code),
        message: Some(format!("{} (it ran before; its log is not kept any more)", past.message)),
        generation: past.generation,
        command_id: Some(past.id),
        started_at: past.started_at,
        finished_at: Some(past.finished_at),
        output_end: Some(0),
        stage: past.stage.map(|stage| stage.as_str().to_owned()),
        deployed: past.deployed,
        ..Status::default()
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::{CommandId, Time};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_full_disk_is_said_in_words_that_help() {
        let error = |kind| JournalError { path: "/state/commands/x".into(), source: io::Error::from(kind) };
        assert!(refused(&error(io::ErrorKind::StorageFull)).starts_with("agent_disk_full"));
        assert!(refused(&error(io::ErrorKind::ReadOnlyFilesystem)).contains("can't be written"));
        assert!(refused(&error(io::ErrorKind::PermissionDenied)).contains("can't be used"));
    }

    #[test]
    fn an_id_whose_folder_is_gone_answers_with_how_it_ended() {
        let id = CommandId::from_uuid(Uuid::from_u128(7));
        let past = Past {
            id,
            word: "switch".into(),
            exit_code: 0,
            stage: None,
            message: "abc is deployed".into(),
            started_at: None,
            finished_at: Time::from_millis(1),
            generation: None,
            deployed: None,
        };
        let status = status_of(past);
        assert_eq!((status.status.as_str(), status.exit_code, status.output_end), ("ok", Some(0), Some(0)));
        assert_eq!(status.command_id, Some(id));
    }
}
