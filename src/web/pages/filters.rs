//! The filters of the table: made of what there is in the fleet. A chip writes its word into the search, so what is
//! filtered stands there to be read, to be changed and in the address.

use std::collections::BTreeMap;

use askama::Template;
use nixfleet_protocol::api::Host;

use super::{Fleet, html, words};

#[derive(Template)]
#[template(path = "filters.html")]
struct Filters {
    groups: Vec<Group>,
}

struct Group {
    name: &'static str,
    chips: Vec<Chip>,
}

struct Chip {
    query: String,
    icon: String,
    word: String,
    number: usize,
}

/// What a host is found by: its word in the search, the text of the chip, its icon.
type Found = (String, String, String);

/// A tag as the search has it: one word, in small letters.
pub(super) fn slug(tag: &str) -> String {
    tag.to_lowercase().split_whitespace().collect::<Vec<_>>().join("-")
}

/// What the filters are made of; while it is the same for a host, they are.
pub(super) fn same(before: &Host, host: &Host) -> bool {
    let of = |host: &Host| (host.location, host.device_type, host.host_type);
    of(before) == of(host) && before.tags == host.tags
}

/// The groups of chips, with how many hosts each finds.
pub(super) fn filters(fleet: &Fleet<'_>) -> String {
    let group = |name, key: &str, of: &dyn Fn(&Host) -> Vec<Found>| {
        let mut found: BTreeMap<Found, usize> = BTreeMap::new();
        for host in fleet.hosts() {
            let mut all = of(host);
            all.sort();
            all.dedup();
            for one in all {
                *found.entry(one).or_default() += 1;
            }
        }
        let chip = |((word, text, icon), number)| Chip { query: format!("{key}:{word}"), icon, word: text, number };
        Group { name, chips: found.into_iter().map(chip).collect() }
    };
    let known =
        |prefix: &str, (word, text): (&str, &str)| vec![(word.to_owned(), text.to_owned(), format!("{prefix}-{word}"))];
    let tags = |host: &Host| {
        let words = host.tags.iter().map(|tag| slug(tag)).filter(|tag| !tag.is_empty());
        words.map(|tag| (tag.clone(), tag, String::new())).collect()
    };
    let groups = vec![
        group("Tag", "tag", &tags),
        group("Place", "at", &|host| known("l", words::location(host.location))),
        group("Device", "type", &|host| known("d", words::device(host.device_type))),
        group("System", "os", &|host| known("y", words::system(host.host_type))),
    ];
    html(&Filters { groups: groups.into_iter().filter(|group| !group.chips.is_empty()).collect() })
}
