//! Reads what nix prints about closures: `nix store diff-closures` and `nix path-info --closure-size`. Pure.
//!
//! A line of the difference is `curl: 8.1.0 → 8.2.0, +12.3 KiB`. Either half may be missing: only the versions
//! differ, or only the size. `∅` is no such package, `ε` one without a version, and the sizes are coloured.

use nixfleet_protocol::agent::details::PackageChange;
use nixfleet_protocol::text::plain;

/// The packages of `nix store diff-closures`. A line that is none is left out.
pub fn difference(text: &str) -> Vec<PackageChange> {
    text.lines().filter_map(|line| change(plain(line).trim())).collect()
}

fn change(line: &str) -> Option<PackageChange> {
    let (name, rest) = line.split_once(": ")?;
    if name.is_empty() || name.contains(' ') {
        return None;
    }
    let mut change = PackageChange { name: name.to_owned(), ..PackageChange::default() };
    let versions = match rest.rsplit_once(", ") {
        // The versions are a list with commas too.
        Some((versions, last)) => match size(last) {
            Some(bytes) => {
                change.bytes = Some(bytes);
                Some(versions)
            }
            None => Some(rest),
        },
        None => match size(rest) {
            Some(bytes) => {
                change.bytes = Some(bytes);
                None
            }
            None => Some(rest),
        },
    };
    if let Some(versions) = versions {
        let (before, after) = versions.split_once(" → ")?;
        (change.before, change.after) = (version(before), version(after));
    }
    Some(change)
}

/// `∅`: not there. `ε`: there, without a version.
fn version(text: &str) -> Option<String> {
    let text = text.trim();
    (text != "∅").then(|| text.split(", ").map(|one| if one == "ε" { "" } else { one }).collect::<Vec<_>>().join(", "))
}

/// `+12.3 KiB` in bytes.
pub fn size(text: &str) -> Option<i64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let factor: f64 = match unit {
        "B" | "bytes" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = (number * factor).round();
    #[expect(clippy::cast_possible_truncation, reason = "looked at: it is a whole number within 2^53")]
    (bytes.abs() < 9.0e15).then_some(bytes as i64)
}

/// The bytes in a line of `nix path-info --closure-size`: the path, and the number behind it.
pub fn closure_size(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_whitespace().nth(1)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_of_a_line_is_read() {
        let some = |text: &str| Some(text.to_owned());
        for (line, name, before, after, bytes) in [
            ("curl: 8.1.0 → 8.2.0, +12.3 KiB", "curl", some("8.1.0"), some("8.2.0"), Some(12595)),
            ("curl: 8.1.0 → 8.2.0", "curl", some("8.1.0"), some("8.2.0"), None),
            (
                "glibc: 2.33, 2.33-bin → 2.34, 2.34-bin, \u{1b}[31;1m-4.0 KiB\u{1b}[0m",
                "glibc",
                some("2.33, 2.33-bin"),
                some("2.34, 2.34-bin"),
                Some(-4096),
            ),
            ("hello: ∅ → 2.12.1, +226.0 KiB", "hello", None, some("2.12.1"), Some(231_424)),
            ("hello: 2.12.1 → ∅, -226.0 KiB", "hello", some("2.12.1"), None, Some(-231_424)),
            ("etc: ε → ∅", "etc", some(""), None, None),
            ("nixos-system-h1: 24.05, ε → ε", "nixos-system-h1", some("24.05, "), some(""), None),
            ("initrd-linux: +1.5 MiB", "initrd-linux", None, None, Some(1_572_864)),
        ] {
            let read = change(&plain(line)).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(read, PackageChange { name: name.into(), before, after, bytes }, "{line}");
        }
        for line in ["", "warning: something is odd", "error: no", "a b: 1 → 2", "x"] {
            assert_eq!(difference(line), [], "{line}");
        }
    }

    #[test]
    fn the_size_of_a_closure_stands_behind_its_path() {
        assert_eq!(closure_size("/nix/store/a-b\t        824\n"), Some(824));
        assert_eq!(closure_size("/nix/store/a-b 824"), Some(824));
        assert_eq!(closure_size("/nix/store/a-b"), None);
        assert_eq!(closure_size(""), None);
    }

    proptest! {
        #[test]
        fn whatever_nix_prints_nothing_breaks(text in "[a-z0-9.:, →∅ε+\\-KMiB\n\u{1b}\\[m]{0,80}") {
            let _ = difference(&text);
            let _ = closure_size(&text);
        }
    }
}
