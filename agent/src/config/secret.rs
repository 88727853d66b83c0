//! The agent's token: held once, shown to the dashboard alone. It prints as dots wherever it is formatted.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token: visible ASCII, one word, as it must fit into a header.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be one word of visible ASCII characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from a file that others can't read.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let meta = fs::metadata(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(format!(
                "{} can be read or changed by others (mode {mode:04o}): run `chmod 600 {}`",
                path.display(),
                path.display()
            ));
        }
        let text = fs::read_to_string(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        Self::new(&text).map_err(|why| format!("the token in {} {why}", path.display()))
    }

    /// The text itself, for the `Authorization` header.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}
