//! Versions of agent and dashboard: compared by their numbers, whatever stands behind them.

use std::cmp::Ordering;

/// How `a` stands to `b`; none where one of them is no version. A `v` in front, `-dirty`, `-rc1` and `+…` are ignored,
/// missing numbers are 0.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (numbers(a)?, numbers(b)?);
    let length = a.len().max(b.len());
    let filled =
        |numbers: &[u64]| -> Vec<u64> { numbers.iter().copied().chain(std::iter::repeat(0)).take(length).collect() };
    Some(filled(&a).cmp(&filled(&b)))
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    core.split('.').take(8).map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (a, b, expected) in [
            ("1.2.3", "1.2.3", Some(Ordering::Equal)),
            ("1.10.0", "1.9.0", Some(Ordering::Greater)),
            ("1.2", "1.2.0", Some(Ordering::Equal)),
            ("1.2", "1.2.1", Some(Ordering::Less)),
            ("1.2.3-dirty", "1.2.3", Some(Ordering::Equal)),
            ("1.2.3+abc-def", "1.2.3", Some(Ordering::Equal)),
            ("v2.0.0", "1.9.9", Some(Ordering::Greater)),
            (" 1.0.0 ", "1.0.0", Some(Ordering::Equal)),
            ("dev", "1.0.0", None),
            ("", "1.0.0", None),
            ("1..0", "1.0.0", None),
            ("99999999999999999999999", "1.0.0", None),
        ] {
            assert_eq!(compare(a, b), expected, "{a} against {b}");
            assert_eq!(compare(b, a), expected.map(Ordering::reverse), "{b} against {a}");
        }
    }
}
