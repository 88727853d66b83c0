//! What the documents promise is there. Links are checked by `tests/docs/links`; here are the tests that
//! `docs/pitfalls.md` names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The names of all tests in Rust below a folder.
fn tests_below(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != ".git") {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ")
                    && std::mem::take(&mut is_test)
                {
                    found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_table_of_defects_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = HashSet::new();
    for folder in ["src", "agent", "tests"] {
        tests_below(&root.join(folder), &mut known);
    }
    assert!(known.len() > 300, "{} tests were found", known.len());
    let table = fs::read_to_string(root.join("docs/pitfalls.md")).unwrap_or_default();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, _, _, tests] = cells[..] else {
            wrong.push(format!("not four cells: {row}"));
            continue;
        };
        if tests == "tests" || tests.starts_with("---") {
            continue;
        }
        rows += 1;
        // Names stand between backticks: every second piece.
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && tests != "not built yet" {
            wrong.push(format!("no test for: {what}"));
        }
        wrong.extend(named.iter().filter(|name| !known.contains(**name)).map(|name| format!("no such test: {name}")));
    }
    assert!(wrong.is_empty(), "docs/pitfalls.md:\n{}", wrong.join("\n"));
    assert!(rows >= 36, "{rows} rows: none is ever taken out");
}
