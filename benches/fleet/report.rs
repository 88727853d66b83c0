//! The table: what was promised, what was measured.

use std::fmt::Write as _;

struct Row {
    what: String,
    promised: &'static str,
    measured: String,
    reached: Option<bool>,
}

/// All rows, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// A figure with a promise. Printed at once too, for whoever watches.
    pub(crate) fn row(&mut self, what: impl Into<String>, promised: &'static str, measured: String, reached: bool) {
        self.add(Row { what: what.into(), promised, measured, reached: Some(reached) });
    }

    /// A figure that was not promised and says something about the others.
    pub(crate) fn note(&mut self, what: impl Into<String>, measured: String) {
        self.add(Row { what: what.into(), promised: "", measured, reached: None });
    }

    /// A section that came to no end.
    pub(crate) fn failed(&mut self, section: &str, error: &anyhow::Error) {
        self.add(Row {
            what: format!("section {section}"),
            promised: "",
            measured: format!("failed: {error:#}"),
            reached: Some(false),
        });
    }

    fn add(&mut self, row: Row) {
        eprintln!("{}: {} (promised: {}) {}", row.what, row.measured, row.promised, mark(&row));
        self.0.push(row);
    }

    /// The whole table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| what | promised | measured | |\n| --- | --- | --- | --- |\n".to_owned();
        for row in &self.0 {
            // Writing into a text can't fail.
            let _ = writeln!(text, "| {} | {} | {} | {} |", row.what, row.promised, row.measured, mark(row));
        }
        text
    }
}

const fn mark(row: &Row) -> &'static str {
    match row.reached {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "",
    }
}
