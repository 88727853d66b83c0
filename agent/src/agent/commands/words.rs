//! What the dashboard is told about a command that is not begun: why not, or how it ended long ago. Pure.

use std::io;
use std::process::ExitStatus;

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

/// Why no runner claimed a folder: what started it ended (its name and how), or nothing came. `said` is the last that
/// was heard. With what to do, where that is known.
pub(super) fn not_begun(failed: Option<&(String, ExitStatus)>, said: Option<&str>, needs_root: bool) -> String {
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let Some((program, status)) = failed else { return format!("its runner never began{said}") };
    let how = match status.code() {
        Some(code) => format!("ended with code {code}"),
        None => format!("was ended ({status})"),
    };
    // A runner that came so far needs nobody's leave.
    let advice = if needs_root && program != "the runner" {
        "; it needs root: let the agent's user run it without a password, or name another program in NIXFLEET_SUDO"
    } else {
        ""
    };
    format!("{program} {how}{said}{advice}")
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
    fn a_command_that_was_not_begun_says_why_and_what_to_do() {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = |program: &str, raw| Some((program.to_owned(), ExitStatus::from_raw(raw)));
        for (failed, said, needs_root, sentence) in [
            (None, None, false, "its runner never began"),
            (None, Some("x"), false, "its runner never began: x"),
            (ended("systemd-run", 256), Some("no bus"), false, "systemd-run ended with code 1: no bus"),
            (ended("the runner", 256), Some("no room"), true, "the runner ended with code 1: no room"),
        ] {
            assert_eq!(not_begun(failed.as_ref(), said, needs_root), sentence);
        }
        let refused = not_begun(ended("sudo", 256).as_ref(), Some("a password is required"), true);
        assert!(refused.starts_with("sudo ended with code 1: a password is required; it needs root"), "{refused}");
        assert!(not_begun(ended("sudo", 9).as_ref(), None, false).contains("was ended"));
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
