//! A text that nobody may see: no `Debug`, no `Display`, no `Serialize`. Who needs it says so with
//! [`Secret::expose`], and that is a word to search for.

use subtle::ConstantTimeEq as _;

/// A password, a token or a key.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    /// The text itself. Not for logs, errors or events.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both are the same, in a time that tells nothing but their lengths.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_the_same() {
        let secret = Secret::new("abc");
        assert!(secret.is("abc"));
        assert!(!secret.is("abd"));
        assert!(!secret.is("ab"));
        assert!(!secret.is(""));
    }
}
