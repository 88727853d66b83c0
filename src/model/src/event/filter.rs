//! Which events someone wants to see. The API, the page and what arrives live take the same answer.

use std::time::Duration;

use nixfleet_protocol::api::{Category, Event, Level};
use nixfleet_protocol::{HostId, Time};

/// The longest word that is looked for, in bytes.
const LONGEST: usize = 200;

/// Which events someone wants to see. Empty, it takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventFilter {
    /// Of this category.
    pub category: Option<Category>,
    /// Of this level.
    pub level: Option<Level>,
    /// On this host.
    pub host: Option<HostId>,
    /// By someone whose name has this in it, in small letters.
    pub actor: Option<String>,
    /// With this word for what was done.
    pub action: Option<String>,
    /// With all these words in it, in small letters.
    pub words: Vec<String>,
    /// Not before.
    pub since: Option<Time>,
    /// Not after.
    pub until: Option<Time>,
}

impl EventFilter {
    /// Of the parameters of an address: `category`, `level`, `host`, `actor`, `action`, `q`, `since`, `until`, and
    /// `within` (`90m`, `24h`, `7d`), which is the same as `since` so long before `now`. Fails with one sentence.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>, now: Time) -> Result<Self, String> {
        let short = |name: &str| match get(name) {
            Some(text) if text.len() > LONGEST => Err(format!("{name}: at most {LONGEST} bytes.")),
            text => Ok(text.map(str::trim).filter(|text| !text.is_empty())),
        };
        let time = |name: &str| -> Result<Option<Time>, String> {
            short(name)?.map(|text| text.parse().map_err(|_| format!("{name}: expected RFC 3339."))).transpose()
        };
        let word = |name: &str, known: &[&'static str]| -> Result<Option<usize>, String> {
            let Some(text) = short(name)? else { return Ok(None) };
            let at = known.iter().position(|word| *word == text);
            at.map(Some).ok_or_else(|| format!("{name}: expected one of {}.", known.join(", ")))
        };
        let category = word("category", &Category::ALL.map(Category::as_str))?;
        let level = word("level", &Level::ALL.map(Level::as_str))?;
        let within = short("within")?.map(span).transpose()?;
        Ok(Self {
            category: category.map(|at| Category::ALL[at]),
            level: level.map(|at| Level::ALL[at]),
            host: short("host")?.map(|text| text.parse().map_err(|error| format!("host: {error}."))).transpose()?,
            actor: short("actor")?.map(str::to_lowercase),
            action: short("action")?.map(str::to_owned),
            words: short("q")?.map(words).unwrap_or_default(),
            since: time("since")?.max(within.map(|span| now.minus(span))),
            until: time("until")?,
        })
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As parameters of an address, which [`Self::read`] reads back.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let Self { category, level, host, actor, action, words, since, until } = self;
        [
            ("category", category.map(|category| category.as_str().to_owned())),
            ("level", level.map(|level| level.as_str().to_owned())),
            ("host", host.as_ref().map(ToString::to_string)),
            ("actor", actor.clone()),
            ("action", action.clone()),
            ("q", Some(words.join(" ")).filter(|words| !words.is_empty())),
            ("since", since.map(|time| time.to_string())),
            ("until", until.map(|time| time.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Whether it takes this event.
    pub fn takes(&self, event: &Event) -> bool {
        self.category.is_none_or(|category| category == event.category)
            && self.level.is_none_or(|level| level == event.level)
            && self.host.as_ref().is_none_or(|host| event.host.as_ref() == Some(host))
            && self.actor.as_ref().is_none_or(|actor| event.actor.to_lowercase().contains(actor))
            && self.action.as_ref().is_none_or(|action| *action == event.action)
            && self.since.is_none_or(|since| since <= event.time)
            && self.until.is_none_or(|until| event.time <= until)
            && (self.words.is_empty() || {
                let text = Self::text(event);
                self.words.iter().all(|word| text.contains(word))
            })
    }

    /// What words are looked for in: all that a line of the list shows, in small letters.
    pub fn text(event: &Event) -> String {
        let host = event.host.as_ref().map_or("", HostId::as_str);
        let Event { actor, action, message, .. } = event;
        format!("{host} {actor} {} {action} {message}", event.category.as_str()).to_lowercase()
    }
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split_whitespace().map(str::to_owned).collect()
}

/// `90m`, `24h`, `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let bad = || "within: expected a number and m, h or d, as in 24h.".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        _ => return Err(bad()),
    };
    Ok(Duration::from_secs(u64::from(number) * minutes * 60))
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::EventId;

    use super::*;

    const NOW: Time = Time::from_millis(1_800_000_000_000);

    fn event() -> Event {
        Event {
            id: EventId(7),
            time: NOW.minus(Duration::from_hours(2)),
            category: Category::Audit,
            level: Level::Error,
            actor: "api:CI".to_owned(),
            host: "hsb0".parse().ok(),
            action: "command_finished".to_owned(),
            message: "Switch failed: caddy.service".to_owned(),
            details: serde_json::Value::Null,
        }
    }

    fn read(query: &str) -> Result<EventFilter, String> {
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        EventFilter::read(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value), NOW)
    }

    #[test]
    fn each_part_takes_and_leaves() {
        for (query, takes) in [
            ("", true),
            ("category=audit", true),
            ("category=system", false),
            ("level=error", true),
            ("level=info", false),
            ("host=hsb0", true),
            ("host=hsb1", false),
            ("actor=ci", true),
            ("actor=user", false),
            ("action=command_finished", true),
            ("action=login", false),
            ("q=CADDY switch", true),
            ("q=caddy pull", false),
            ("within=3h", true),
            ("within=90m", false),
            ("since=2027-01-15T06:00:00Z", true),
            ("since=2027-01-15T07:00:00Z", false),
            ("until=2027-01-15T06:00:00.000Z", true),
            ("until=2027-01-15T05:59:00.000Z", false),
            ("level=error&host=hsb0&q=failed&within=1d", true),
            ("level=error&host=hsb0&q=failed&within=1h", false),
        ] {
            let filter = read(query).unwrap();
            assert_eq!(filter.takes(&event()), takes, "{query}");
            assert_eq!(filter.is_empty(), query.is_empty());
            let parameters = filter.parameters();
            let again = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
            assert_eq!(EventFilter::read(again, NOW).unwrap(), filter, "{query}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_name() {
        for query in ["category=x", "level=loud", "host=BAD!", "since=yesterday", "within=1", "within=h", "within=1é"]
        {
            let name = query.split_once('=').unwrap().0;
            assert!(read(query).unwrap_err().starts_with(name), "{query}");
        }
        assert!(read(&format!("q={}", "x".repeat(201))).is_err());
    }
}
