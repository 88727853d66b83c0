//! What an agent says that it can do: two dozen short words, the same from nearly every host. They are one text in
//! memory, where a list of texts takes eight times as much for each host of the fleet.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Between two words; no word that came from a host has it.
const BETWEEN: char = '\n';

/// Words that say what an agent can do beyond the base. A list of texts, where it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(Box<str>);

impl Features {
    /// Nothing was named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.words().any(|known| known == word)
    }

    /// One by one, as they were said.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(BETWEEN).filter(|word| !word.is_empty())
    }
}

impl<T: AsRef<str>> FromIterator<T> for Features {
    fn from_iter<I: IntoIterator<Item = T>>(words: I) -> Self {
        let mut text = String::new();
        for word in words {
            if !text.is_empty() {
                text.push(BETWEEN);
            }
            text.extend(word.as_ref().chars().filter(|letter| *letter != BETWEEN));
        }
        Self(text.into())
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_stored_as_the_list_that_they_were() {
        let list = vec!["pull".to_owned(), "switch".to_owned(), "exec".to_owned()];
        let features: Features = list.iter().collect();
        assert!(features.has("switch") && !features.has("swi") && !features.has(""));
        let stored = serde_json::to_string(&features).unwrap();
        assert_eq!(stored, serde_json::to_string(&list).unwrap());
        assert_eq!(serde_json::from_str::<Features>(&stored).unwrap(), features);
        assert!(Features::default().is_empty() && Features::default().words().next().is_none());
    }
}
