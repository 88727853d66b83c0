//! Reads variables one by one and collects what is wrong with them, so that a person sees all of it at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::VARIABLES;
use super::secret::Secret;

/// A walk through the variables. An empty value counts as not set.
#[derive(Debug)]
pub struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Begins, with a warning for each name that looks like ours and is not.
    pub fn new(variables: &'a BTreeMap<String, String>) -> Self {
        let warnings = variables
            .keys()
            .filter(|name| name.starts_with("NIXFLEET_") && !VARIABLES.contains(&name.as_str()))
            .map(|name| format!("{name} is no setting of the agent and does nothing"))
            .collect();
        Self { variables, problems: Vec::new(), warnings }
    }

    /// All that was found wrong, and all that is merely odd.
    pub fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.problems, self.warnings)
    }

    /// Notes a problem.
    pub fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A value that has a form.
    pub fn parsed<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{name}={text:?}: {error}"));
                None
            }
        }
    }

    /// A value without which nothing works.
    pub fn required<T>(&mut self, name: &str, what: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.text(name).is_none() {
            self.problem(format!("{name} is needed: {what}"));
            return None;
        }
        self.parsed(name, parse)
    }

    /// On or off.
    pub fn switch(&mut self, name: &str, default: bool) -> bool {
        self.parsed(name, |text| match text {
            "1" | "on" | "true" => Ok(true),
            "0" | "off" | "false" => Ok(false),
            _ => Err("must be 1 or 0, on or off, true or false"),
        })
        .unwrap_or(default)
    }

    /// A span in whole seconds: `30`, `30s`, `5m`, `1h`.
    pub fn seconds(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        self.parsed(name, |text| {
            let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
                Some(number) if text.ends_with('m') => (number, 60),
                Some(number) if text.ends_with('h') => (number, 3600),
                Some(number) => (number, 1),
                None => (text, 1),
            };
            let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
            seconds.filter(|seconds| range.contains(seconds)).ok_or_else(|| {
                format!("must be whole seconds from {} to {}, e.g. 30, 30s or 5m", range.start(), range.end())
            })
        })
    }

    /// An absolute path.
    pub fn directory(&mut self, name: &str) -> Option<PathBuf> {
        self.parsed(name, |text| {
            if Path::new(text).is_absolute() { Ok(PathBuf::from(text)) } else { Err("must be an absolute path") }
        })
    }

    /// Words, separated by commas or spaces.
    pub fn words(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// An argument vector, separated by spaces. No shell, no quotes.
    pub fn argv(&self, name: &str) -> Option<Vec<String>> {
        let words: Vec<String> = self.text(name)?.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(words)
    }

    /// The token, from the variable or from the file. Its value never stands in a problem.
    pub fn token(&mut self) -> Option<Secret> {
        let read = match (self.text("NIXFLEET_TOKEN"), self.text("NIXFLEET_TOKEN_FILE")) {
            (Some(_), Some(_)) => Err("NIXFLEET_TOKEN and NIXFLEET_TOKEN_FILE are both set: keep one".into()),
            (Some(token), None) => Secret::new(&token).map_err(|why| format!("NIXFLEET_TOKEN {why}")),
            (None, Some(file)) => {
                Secret::from_file(Path::new(&file)).map_err(|why| format!("NIXFLEET_TOKEN_FILE: {why}"))
            }
            (None, None) => {
                Err("NIXFLEET_TOKEN_FILE or NIXFLEET_TOKEN is needed: make one with `nixfleet token host NAME`".into())
            }
        };
        read.map_err(|problem| self.problem(problem)).ok()
    }
}

/// `#rrggbb`.
pub fn color(text: &str) -> Result<String, &'static str> {
    match text.strip_prefix('#') {
        Some(hex) if hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(text.to_ascii_lowercase())
        }
        Some(_) | None => Err("must be a colour like #98b8d8"),
    }
}

/// A branch's name: nothing that git could take for an option or for a range.
pub fn branch(text: &str) -> Result<String, &'static str> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if text.starts_with(['-', '/']) || text.contains("..") || text.ends_with(['/', '.']) || text.contains(bad) {
        return Err("is no name of a branch");
    }
    Ok(text.to_owned())
}

/// A repository's address: nothing that git could take for an option or run as a program.
pub fn repository(text: &str) -> Result<String, &'static str> {
    if text.starts_with('-') {
        return Err("must not begin with a hyphen");
    }
    if text.contains("::") {
        return Err("names a remote helper of git; use https://, ssh:// or a path");
    }
    if text.contains(char::is_whitespace) {
        return Err("must not hold spaces");
    }
    Ok(text.to_owned())
}
