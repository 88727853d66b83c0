//! How commands ended whose folders were deleted: a line of JSON for each, appended, never removed.
//!
//! The ids say quickly whether a command ran ([`super::known`]); this says how, for the rare dashboard that asks again
//! because it was restored from a backup. Read only then. A crash in the middle of an append leaves half a line,
//! which is cut off at the next opening: the folder is still there, and its line is written again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::Deployed;
use nixfleet_protocol::{CommandId, Commit, Time};
use serde::{Deserialize, Serialize};

use crate::record::{Order, Outcome, Stage};

/// The longest sentence that is kept. Characters.
const MESSAGE: usize = 300;

/// What is kept of a command for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub id: CommandId,
    /// The op, in the dashboard's word.
    pub word: String,
    /// 0 is success.
    pub exit_code: i32,
    /// Where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Time,
    /// The commit that was checked out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Commit>,
    /// The last good switch then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
}

impl Past {
    /// What is kept of this command.
    pub fn of(id: CommandId, order: Option<&Order>, outcome: &Outcome) -> Self {
        Self {
            id,
            word: order.map(|order| order.word.clone()).unwrap_or_default(),
            exit_code: outcome.exit_code,
            stage: outcome.stage,
            message: outcome.message.chars().take(MESSAGE).collect(),
            started_at: outcome.started_at,
            finished_at: outcome.finished_at,
            generation: outcome.generation.clone(),
            deployed: outcome.deployed.clone(),
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct PastCommands {
    path: PathBuf,
}

impl PastCommands {
    /// Opens the file, and cuts half a line off its end.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        // A line is far shorter than this.
        let from = length.saturating_sub(64 * 1024);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = from + nixfleet_protocol::log::whole_length(&tail) as u64;
        if whole < length {
            file.set_len(whole)?;
            file.sync_all()?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Adds some, and waits for the disk.
    pub fn add(&mut self, past: &[Past]) -> io::Result<()> {
        if past.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for one in past {
            serde_json::to_writer(&mut bytes, one)?;
            bytes.push(b'\n');
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    /// How a command ended; the last word counts. A line that can't be read is passed over.
    pub fn find(&self, id: CommandId) -> io::Result<Option<Past>> {
        let wanted = id.to_string();
        let mut reader = BufReader::new(File::open(&self.path)?);
        let (mut line, mut found) = (Vec::new(), None);
        while reader.read_until(b'\n', &mut line)? > 0 {
            if String::from_utf8_lossy(&line).contains(&wanted)
                && let Ok(past) = serde_json::from_slice::<Past>(&line)
                && past.id == id
            {
                found = Some(past);
            }
            line.clear();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_became_of_a_command_is_known_for_good_and_half_a_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("past");
        let id = |n| CommandId::from_uuid(Uuid::from_u128(n));
        let past = |n, exit_code| Past {
            id: id(n),
            word: "switch".into(),
            exit_code,
            stage: None,
            message: "so".into(),
            started_at: None,
            finished_at: Time::from_millis(1),
            generation: None,
            deployed: None,
        };
        let mut file = PastCommands::open(&path).unwrap();
        file.add(&[past(1, 0), past(2, 4)]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"torn").unwrap();
        let mut file = PastCommands::open(&path).unwrap();
        file.add(&[past(3, 7)]).unwrap();
        let code = |n| file.find(id(n)).unwrap().map(|past| past.exit_code);
        assert_eq!((code(1), code(2), code(3), code(4)), (Some(0), Some(4), Some(7), None));
    }
}
