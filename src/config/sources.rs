//! Where settings come from: the environment, files that it names, systemd's credentials, `nixfleet.toml`.
//! Collects what is wrong instead of stopping at the first, so that a person mends it in one go.
//!
//! ```text
//! NIXFLEET_X  >  NIXFLEET_X_FILE  >  $CREDENTIALS_DIRECTORY/x  >  x = … in the file  >  x_file = … in the file
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Given, Known, Problem, Secret, Warning};
use nixfleet_protocol::Op;

/// A setting that the product's documents name.
struct Setting {
    /// Its name in the file; `NIXFLEET_` and capitals in the environment.
    key: &'static str,
    /// It may come from a file of its own.
    secret: bool,
}

const fn plain(key: &'static str) -> Setting {
    Setting { key, secret: false }
}

const fn secret(key: &'static str) -> Setting {
    Setting { key, secret: true }
}

/// Every setting there is. What is not here is unknown.
const SETTINGS: &[Setting] = &[
    plain("listen"),
    plain("data_dir"),
    plain("base_url"),
    plain("allowed_origins"),
    plain("trusted_proxies"),
    plain("allow_insecure"),
    secret("password_hash"),
    secret("totp_secret"),
    secret("session_secret"),
    plain("session_duration"),
    secret("agent_token"),
    secret("admin_token"),
    plain("tls_cert"),
    plain("tls_key"),
    plain("repo_url"),
    plain("branch"),
    plain("ssh_key"),
    plain("remote_interval"),
    plain("github_repo"),
    secret("github_token"),
    plain("github_api_url"),
    secret("github_webhook_secret"),
    plain("version_url"),
    plain("sync_beacon_interval"),
    plain("timeout_action"),
    plain("auto_test"),
    secret("ntfy_url"),
    secret("ntfy_token"),
    secret("discord_webhook"),
    secret("notify_webhook_url"),
    secret("notify_webhook_secret"),
    plain("smtp_url"),
    secret("smtp_password"),
    plain("mail_from"),
    plain("mail_to"),
    plain("notify_events"),
    plain("notify_levels"),
    plain("notify_hosts"),
    plain("notify_tags"),
    plain("notify_quiet"),
    plain("notify_timezone"),
    plain("wake_broadcast"),
    plain("cmd_retention_days"),
    plain("log_retention_days"),
    plain("log"),
    plain("log_format"),
];

/// Tells whether a value is what it should be.
pub(super) type Parsed<T> = Result<T, String>;

/// A value of the file.
enum FileValue {
    Text(String),
    Bad(&'static str),
}

/// All that was given, and what was found wrong with it so far.
pub(super) struct Sources<'a> {
    given: &'a Given<'a>,
    file: BTreeMap<String, FileValue>,
    pub(super) pipelines: Vec<Known>,
    /// `[[notify]]` tables, not read yet.
    pub(super) notify: Vec<toml::Value>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// The name of a setting in the environment.
pub(super) fn variable(key: &str) -> String {
    format!("NIXFLEET_{}", key.to_ascii_uppercase())
}

impl<'a> Sources<'a> {
    pub(super) fn new(given: &'a Given<'a>) -> Self {
        let mut sources = Self {
            given,
            file: BTreeMap::new(),
            pipelines: Vec::new(),
            notify: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        sources.read_file();
        sources.look_at_variables();
        sources
    }

    pub(super) fn problem(&mut self, setting: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { setting: setting.into(), message: message.into() });
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(Warning(message.into()));
    }

    fn read_file(&mut self) {
        let Some((path, text)) = &self.given.file else { return };
        let path = path.display();
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // The parser's own message shows the line, which may hold a secret.
                let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
                let place = line.map_or(String::new(), |line| format!(", line {line}"));
                self.problem(format!("{path}{place}"), format!("is no TOML: {}", error.message()));
                return;
            }
        };
        for (key, value) in table {
            if key == "pipeline" {
                self.read_pipelines(value);
            } else if key == "notify" {
                if let toml::Value::Array(tables) = value {
                    self.notify = tables;
                } else {
                    self.problem("notify", "is written [[notify]], once for each channel");
                }
            } else if is_known(&key) {
                self.file.insert(key, file_value(value));
            } else {
                self.problem(format!("{key} (in {path})"), "is no setting");
            }
        }
    }

    fn read_pipelines(&mut self, value: toml::Value) {
        let toml::Value::Array(tables) = value else {
            return self.problem("pipeline", "is written [[pipeline]], once for each pipeline");
        };
        for (number, table) in tables.into_iter().enumerate() {
            let name = format!("pipeline {}", number + 1);
            match table.try_into::<PipelineText>() {
                Err(error) => self.problem(name, error.message().to_owned()),
                Ok(text) => match text.parse() {
                    Ok(pipeline) if self.pipelines.iter().any(|other| other.name == pipeline.name) => {
                        self.problem(name, format!("another one is named {:?} too", pipeline.name));
                    }
                    Ok(pipeline) => self.pipelines.push(pipeline),
                    Err(why) => self.problem(name, why),
                },
            }
        }
    }

    fn look_at_variables(&mut self) {
        for name in self.given.vars.keys() {
            let Some(key) = name.strip_prefix("NIXFLEET_") else { continue };
            if name != "NIXFLEET_CONFIG" && !is_known(&key.to_ascii_lowercase()) {
                self.warnings.push(Warning(format!("{name} is no setting of the daemon; it is ignored")));
            }
        }
    }

    /// A variable; an empty one is as good as none.
    fn variable(&self, name: &str) -> Option<&'a str> {
        self.given.vars.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn in_file(&mut self, key: &str) -> Option<String> {
        match self.file.get(key)? {
            FileValue::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            FileValue::Bad(why) => {
                let why = *why;
                self.problem(key, why);
                None
            }
        }
    }

    /// The text of a setting, from wherever it comes first.
    fn text(&mut self, key: &'static str) -> Option<String> {
        let in_file = self.in_file(key);
        self.variable(&variable(key)).map(str::to_owned).or(in_file)
    }

    /// A setting, read by `parse`; `None` when it is not given or bad.
    pub(super) fn optional<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let text = self.text(key)?;
        self.parsed(key, &text, parse)
    }

    /// A setting with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, parse: impl FnOnce(&str) -> Parsed<T>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    fn parsed<T>(&mut self, key: &str, text: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        parse(text).map_err(|why| self.problem(variable(key), why)).ok()
    }

    /// A secret: from a variable, from a file that one names, from systemd, or from the configuration file.
    pub(super) fn secret<T>(&mut self, key: &'static str, parse: impl FnOnce(Secret) -> Parsed<T>) -> Option<T> {
        let name = variable(key);
        let file_name = format!("{name}_FILE");
        let direct = self.variable(&name).map(Secret::new);
        let by_file = self.variable(&file_name).map(PathBuf::from);
        if direct.is_some() && by_file.is_some() {
            self.problem(&name, format!("is given and {file_name} too: keep one of them"));
            return None;
        }
        let in_file = self.in_file(key).map(Secret::new);
        let named_in_file = self.in_file(&format!("{key}_file")).map(PathBuf::from);
        let secret = match (direct, by_file) {
            (Some(secret), _) => Some(secret),
            (None, Some(path)) => Some(self.read_secret(&file_name, &path)?),
            (None, None) => match (self.credential(key), in_file, named_in_file) {
                (Some(secret), _, _) | (None, Some(secret), _) => Some(secret),
                (None, None, Some(path)) => Some(self.read_secret(&format!("{key}_file"), &path)?),
                (None, None, None) => None,
            },
        };
        let secret = secret?;
        parse(secret).map_err(|why| self.problem(name, why)).ok()
    }

    /// A secret of a table: written there, or in a file that the table names.
    pub(super) fn given_or_file(
        &mut self,
        place: &str,
        field: &str,
        given: Option<String>,
        file: Option<PathBuf>,
    ) -> Option<Secret> {
        match (given, file) {
            (Some(_), Some(_)) => {
                self.problem(place, format!("{field} is given and {field}_file too: keep one of them"));
                None
            }
            (Some(text), None) => Some(Secret::new(text.trim())),
            (None, Some(path)) => self.read_secret(&format!("{place}, {field}_file"), &path),
            (None, None) => None,
        }
    }

    /// A field of a table; notes what is wrong with it.
    pub(super) fn field<T>(&mut self, place: &str, field: &str, parsed: Parsed<T>) -> Option<T> {
        parsed.map_err(|why| self.problem(place, format!("{field}: {why}"))).ok()
    }

    fn read_secret(&mut self, name: &str, path: &Path) -> Option<Secret> {
        match (self.given.read)(path) {
            Ok(text) if text.trim().is_empty() => {
                self.problem(name, format!("{} is empty", path.display()));
                None
            }
            Ok(text) => Some(Secret::new(text.trim())),
            Err(error) => {
                self.problem(name, format!("{} can't be read: {error}", path.display()));
                None
            }
        }
    }

    /// What systemd hands over by `LoadCredential=password_hash:…`.
    fn credential(&self, key: &str) -> Option<Secret> {
        let dir = Path::new(self.given.vars.get("CREDENTIALS_DIRECTORY")?);
        let names = [key.to_owned(), key.replace('_', "-"), variable(key)];
        let text = names.iter().find_map(|name| (self.given.read)(&dir.join(name)).ok())?;
        Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new)
    }
}

fn is_known(key: &str) -> bool {
    SETTINGS
        .iter()
        .any(|setting| key == setting.key || (setting.secret && key.strip_suffix("_file") == Some(setting.key)))
}

fn file_value(value: toml::Value) -> FileValue {
    match value {
        toml::Value::String(text) => FileValue::Text(text),
        toml::Value::Integer(number) => FileValue::Text(number.to_string()),
        toml::Value::Boolean(on) => FileValue::Text(on.to_string()),
        toml::Value::Array(parts) => {
            let texts: Option<Vec<String>> = parts
                .into_iter()
                .map(|part| if let toml::Value::String(text) = part { Some(text) } else { None })
                .collect();
            texts.map_or(FileValue::Bad("expected a list of texts"), |texts| FileValue::Text(texts.join(",")))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            FileValue::Bad("expected a text, a whole number, true or false, or a list of texts")
        }
    }
}

/// `[[pipeline]]` as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PipelineText {
    name: String,
    ops: Vec<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parallel: Option<u32>,
}

impl PipelineText {
    fn parse(self) -> Parsed<Known> {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(fine) {
            return Err("name: expected lower case letters, digits and hyphens, at most 63".to_owned());
        }
        if self.ops.is_empty() {
            return Err("ops: at least one is needed".to_owned());
        }
        if self.parallel == Some(0) {
            return Err("parallel: at least 1".to_owned());
        }
        let ops = self
            .ops
            .iter()
            .map(|op| op.parse::<Op>().map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        Known::configured(&self.name, &ops, &self.description, self.parallel)
    }
}
