//! The session secret that nobody set: made once, kept in the data directory, for its owner's eyes only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::SecureRandom as _;

use super::Secret;

/// Its name in the data directory.
const FILE: &str = "session-secret";

/// Why it could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file or the directory.
    #[error("{0} can't be read or written")]
    Io(PathBuf, #[source] io::Error),
    /// There is one, and it is cut short.
    #[error("{0} is damaged: remove it, and everyone logs in again")]
    Damaged(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// The secret in the data directory; made when there is none. Makes the directory too (0700).
pub fn keep_session_secret(data_dir: &Path) -> Result<Secret, KeepError> {
    let path = data_dir.join(FILE);
    let io = |error| KeepError::Io(path.clone(), error);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= super::SESSION_SECRET => return Ok(Secret::new(text.trim())),
        Ok(_) => return Err(KeepError::Damaged(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let mut bytes = [0_u8; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| KeepError::NoRandom)?;
    let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    if !data_dir.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(io)?;
    }
    // Written aside and renamed: a crash leaves no half secret.
    let aside = data_dir.join(format!("{FILE}.new"));
    let write = || -> io::Result<()> {
        if aside.exists() {
            fs::remove_file(&aside)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        fs::File::open(data_dir)?.sync_all()
    };
    write().map_err(io)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = keep_session_secret(&data).unwrap();
        assert!(first.is(keep_session_secret(&data).unwrap().expose()));
        let mode = fs::metadata(data.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_one_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "short").unwrap();
        assert!(matches!(keep_session_secret(dir.path()), Err(KeepError::Damaged(_))));
    }
}
