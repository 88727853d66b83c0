//! What is measured, one room for each group of figures.

mod agent;
mod fanout;
mod latency;
mod memory;
mod page;
mod reconnect;
mod restart;
mod start;

use crate::report::Table;
use crate::{Bench, commits};

/// A group of figures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Sizes,
    Memory,
    Agent,
    Latency,
    Fanout,
    Commits,
    Start,
    Restart,
    Reconnect,
    Page,
}

impl Section {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Sizes,
        Self::Agent,
        Self::Memory,
        Self::Latency,
        Self::Fanout,
        Self::Commits,
        Self::Start,
        Self::Restart,
        Self::Reconnect,
        Self::Page,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sizes => "sizes",
            Self::Memory => "memory",
            Self::Agent => "agent",
            Self::Latency => "latency",
            Self::Fanout => "fanout",
            Self::Commits => "commits",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reconnect => "reconnect",
            Self::Page => "page",
        }
    }

    pub(crate) async fn run(self, bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
        match self {
            Self::Sizes => sizes(bench, table),
            Self::Memory => memory::run(bench, table).await,
            Self::Agent => agent::run(bench, table).await,
            Self::Latency => latency::run(bench, table).await,
            Self::Fanout => fanout::run(bench, table).await,
            Self::Commits => commits::run(bench, table).await,
            Self::Start => start::run(bench, table).await,
            Self::Restart => restart::run(bench, table).await,
            Self::Reconnect => reconnect::run(bench, table).await,
            Self::Page => page::run(bench, table).await,
        }
    }
}

/// The name of the section of an ELF file that the release profile strips.
const SYMBOLS: &[u8] = b".symtab\0";

/// Which files are measured. Nobody ships a binary with symbols: its figures are those of another program.
pub(crate) fn binaries(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    for path in [&bench.binaries.daemon, &bench.binaries.agent] {
        let bytes = std::fs::read(path)?;
        let stripped = !bytes.windows(SYMBOLS.len()).any(|name| name == SYMBOLS);
        let kind = if stripped { "as shipped" } else { "with symbols, so no release build" };
        let name = path.file_name().unwrap_or_default();
        let text = format!("{}, {} bytes, {kind}", bench.binaries.from.join(name).display(), bytes.len());
        if stripped {
            table.note("measured", text);
        } else {
            table.row("measured", "the release build", text, false);
        }
    }
    Ok(())
}

fn sizes(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    for (what, path, promised, most) in [
        ("binary of the daemon", &bench.binaries.daemon, "≤ 10 MB", 10_000_000),
        ("binary of the agent", &bench.binaries.agent, "≤ 4 MB", 4_000_000),
    ] {
        let bytes = std::fs::metadata(path)?.len();
        table.row(what, promised, format!("{:.2} MB", crate::measure::share(bytes, 1_000_000)), bytes <= most);
    }
    Ok(())
}
