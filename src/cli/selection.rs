//! Which hosts are meant: by name, `@tag`, `all`, or a glob with `*` and `?`.

use nixfleet_model::glob::glob;
use nixfleet_protocol::api::Host;

/// A selector that fits no host is a typing error, and said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host fits {selector:?}; the fleet has {known}")]
pub(super) struct NoSuchHost {
    selector: String,
    known: String,
}

/// Whether a host is meant by one of the selectors.
pub(super) fn is_meant(host: &Host, selectors: &[String]) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| fits(host, selector))
}

/// Fails for the first selector that fits none of the hosts.
pub(super) fn check(hosts: &[Host], selectors: &[String]) -> Result<(), NoSuchHost> {
    let lost =
        selectors.iter().find(|selector| selector.as_str() != "all" && !hosts.iter().any(|host| fits(host, selector)));
    let Some(selector) = lost else { return Ok(()) };
    let mut known: Vec<&str> = hosts.iter().take(10).map(|host| host.id.as_str()).collect();
    if hosts.len() > known.len() {
        known.push("…");
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(NoSuchHost { selector: selector.clone(), known })
}

fn fits(host: &Host, selector: &str) -> bool {
    match selector.strip_prefix('@') {
        Some(tag) => host.tags.iter().any(|had| had == tag),
        None => selector == "all" || glob(&selector.to_ascii_lowercase(), host.id.as_str()),
    }
}
