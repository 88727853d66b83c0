//! What git says, made readable: a plain sentence of ours with what to do, and git's own words behind it.

/// How much of git's words is kept.
const MOST_WORDS: usize = 400;

/// git's complaint without progress, hints and noise, on one line.
pub(super) fn own_words(complaint: &str) -> String {
    let lines: Vec<&str> = complaint
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_noise(line))
        .map(|line| line.strip_prefix("fatal: ").unwrap_or(line))
        .collect();
    let words = lines.join(" ");
    if words.chars().count() <= MOST_WORDS {
        return words;
    }
    words.chars().take(MOST_WORDS).chain(std::iter::once('…')).collect()
}

/// How lines begin that tell nothing of a failure.
const BEGINS: &[&str] = &[
    "hint:",
    "Warning: Permanently added",
    "From ",
    "Counting objects",
    "Enumerating objects",
    "Compressing objects",
    "Receiving objects",
    "Resolving deltas",
    "Unpacking objects",
    "Total ",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

fn is_noise(line: &str) -> bool {
    let bare = line.strip_prefix("remote: ").unwrap_or(line);
    BEGINS.iter().any(|begin| bare.starts_with(begin)) || line.contains(" -> ")
}

/// What kind of failure the words tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    HostUnknown,
    HostKey,
    Refused,
    NoRepository,
    Unreachable,
    Certificate,
    Other,
}

/// In order: the first that fits counts.
const SIGNS: &[(Kind, &[&str])] = &[
    (Kind::HostUnknown, &["Could not resolve host", "Name or service not known", "nodename nor servname"]),
    (Kind::HostKey, &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]),
    (
        Kind::Refused,
        &[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied (",
            "returned error: 401",
            "returned error: 403",
            "Access denied",
            "terminal prompts disabled",
        ],
    ),
    (
        Kind::NoRepository,
        &["does not appear to be a git repository", "not found", "does not exist", "not a git repository"],
    ),
    (Kind::Certificate, &["certificate", "SSL"]),
    (
        Kind::Unreachable,
        &[
            "Connection refused",
            "Connection timed out",
            "timed out",
            "unable to connect",
            "Failed to connect",
            "Couldn't connect",
            "No route to host",
            "Network is unreachable",
            "Connection reset",
            "Connection closed",
            "Could not read from remote repository",
            "unable to access",
            "early EOF",
            "hung up",
        ],
    ),
];

/// A sentence for people: what happened, to what, what to do, and git's own words.
pub(super) fn sentence(location: &str, words: &str) -> String {
    let found = SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| words.contains(sign)));
    let said = match found.map_or(Kind::Other, |(kind, _)| *kind) {
        Kind::HostUnknown => format!("the server of {location} has no address; check the name and this machine's DNS"),
        Kind::HostKey => format!(
            "the server of {location} has another host key than before; if that is right, remove its line from \
             mirror/known_hosts in the data directory"
        ),
        Kind::Refused => format!("the login to {location} was refused; check the token or key of the dashboard"),
        Kind::NoRepository => format!("there is no repository at {location}; check NIXFLEET_REPO_URL"),
        Kind::Certificate => format!("the certificate of {location} can't be trusted"),
        Kind::Unreachable => format!("{location} can't be reached"),
        Kind::Other => format!("{location} can't be read"),
    };
    format!("{said} (git: {words})")
}

/// Whether the words tell that our own mirror is broken. To make it anew costs one fetch, so a sign too many
/// does little harm; what the other side says of itself (`remote:`) is none.
pub(super) fn mirror_is_broken(words: &str) -> bool {
    const SIGNS: &[&str] = &[
        "not a git repository",
        "bad object",
        "corrupt",
        "is empty",
        "unable to read",
        "inflate",
        "bad config",
        "did not send all necessary objects",
        "missing blob",
        "missing tree",
        "missing commit",
        "invalid sha1",
        "unable to find",
        "failed to read",
        "bad signature",
        "index-pack",
        "packfile",
        "broken",
        "cannot lock ref",
        "Not a directory",
        "unable to create",
        "not valid",
    ];
    !words.contains("remote:") && SIGNS.iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_hints_are_left_out() {
        let complaint = "hint: use this\nremote: Enumerating objects: 3, done.\rremote: Counting objects: 10% (1/9)\n\
                         fatal: unable to access 'https://x/': Could not resolve host: x\n";
        assert_eq!(own_words(complaint), "unable to access 'https://x/': Could not resolve host: x");
        assert_eq!(own_words(&"x".repeat(5000)).chars().count(), MOST_WORDS + 1);
    }

    #[test]
    fn each_failure_is_a_plain_sentence_with_gits_own_words() {
        for (words, part) in [
            ("unable to access 'https://x/': Could not resolve host: x", "has no address"),
            ("Host key verification failed. Could not read from remote repository.", "another host key"),
            ("Authentication failed for 'https://x/'", "login"),
            ("could not read Username for 'https://x': terminal prompts disabled", "login"),
            ("git@x: Permission denied (publickey). Could not read from remote repository.", "login"),
            ("'/x' does not appear to be a git repository", "no repository"),
            ("unable to access 'http://x/': Failed to connect to x port 80", "can't be reached"),
            ("something new", "can't be read"),
        ] {
            let sentence = sentence("PLACE", words);
            assert!(sentence.contains(part) && sentence.contains("PLACE"), "{sentence}");
            assert!(sentence.ends_with(&format!("(git: {words})")), "{sentence}");
        }
    }

    #[test]
    fn what_the_other_side_says_does_not_condemn_the_mirror() {
        assert!(mirror_is_broken("bad object HEAD"));
        assert!(!mirror_is_broken("remote: fatal: bad object HEAD"));
        assert!(!mirror_is_broken("Could not resolve host: x"));
    }
}
