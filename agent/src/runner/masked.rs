//! What goes into logs and messages shows no passwords.

/// A text without the passwords of the URLs in it.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        rest = after;
        if let Some(user) = after[..authority].rfind('@') {
            out.push_str("•••");
            rest = &after[user..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_masked() {
        for (text, shown) in [
            (
                "fatal: unable to access 'https://a:b@x.org/r.git/': 403",
                "fatal: unable to access 'https://•••@x.org/r.git/': 403",
            ),
            ("https://x.org/a@b", "https://x.org/a@b"),
            ("git@x.org:r.git", "git@x.org:r.git"),
            ("ssh://git@x://y:z@w", "ssh://•••@x://•••@w"),
            ("", ""),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
