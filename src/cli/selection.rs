//! Which hosts are meant: by name, `@tag`, `all`, or a glob with `*` and `?`.

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

/// `*` is any text, `?` any one character.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("hsb0", "hsb0", true),
            ("hsb", "hsb0", false),
            ("hsb*", "hsb0", true),
            ("*", "", true),
            ("*b?", "hsb0", true),
            ("h*b*0", "hsb.b0", true),
            ("?", "ab", false),
            ("a*c", "abd", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
