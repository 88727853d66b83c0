//! The figures that NixFleet promises, measured: the real daemon, the real agent, simulated agents of both
//! protocols and tabs, printed beside what was promised.
//!
//! ```text
//! cargo bench --bench fleet                          everything, some ten minutes
//! cargo bench --bench fleet -- memory latency        some sections
//! cargo bench --bench fleet -- --quick               smaller and shorter, to see that it runs
//!     --bins DIR   the binaries that are measured; without it they are built: cargo build --release
//!     --agents N   of the section memory the case of so many agents alone
//!     --dir DIR    where the data lies while it runs; the disk counts. Without it: the temporary directory
//! ```
//!
//! The daemon is a process of its own, so its memory and processor time are its own (`/proc/<pid>`, Linux only).
//! Agents and tabs are light tasks of this process, on the same processors: figures under load contain their work.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod agents;
mod commits;
mod daemon;
mod http;
mod machine;
mod measure;
mod report;
mod repository;
mod sections;
mod tabs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};

use self::report::Table;
use self::repository::Repository;
use self::sections::Section;

/// A section that takes longer hangs: somebody ended the daemon, or a frame never came.
const LONGEST: Duration = Duration::from_mins(12);

const DAEMON: &str = "nixfleet";
const AGENT: &str = "nixfleet-agent";

/// What all sections need.
struct Bench {
    binaries: Measured,
    dir: tempfile::TempDir,
    repository: Repository,
    quick: bool,
    agents: Option<usize>,
}

impl Bench {
    /// A number, or less of it where it only has to be seen to run.
    fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

struct Wanted {
    sections: Vec<Section>,
    bins: Option<PathBuf>,
    parent: PathBuf,
    quick: bool,
    agents: Option<usize>,
}

fn wanted() -> anyhow::Result<Wanted> {
    let mut wanted =
        Wanted { sections: Vec::new(), bins: None, parent: std::env::temp_dir(), quick: false, agents: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {} // cargo's own
            "--quick" => wanted.quick = true,
            "--agents" => wanted.agents = Some(args.next().context("--agents wants a number")?.parse()?),
            "--bins" => wanted.bins = Some(args.next().context("--bins wants a directory")?.into()),
            "--dir" => wanted.parent = args.next().context("--dir wants a directory")?.into(),
            name => {
                let Some(section) = Section::ALL.iter().find(|section| section.name() == name) else {
                    let names: Vec<_> = Section::ALL.iter().map(|section| section.name()).collect();
                    bail!("no section is called {name}; there are {}", names.join(", "));
                };
                wanted.sections.push(*section);
            }
        }
    }
    if wanted.sections.is_empty() {
        wanted.sections.extend(Section::ALL);
    }
    Ok(wanted)
}

/// The binaries that are measured, and where they are from.
struct Measured {
    daemon: PathBuf,
    agent: PathBuf,
    from: PathBuf,
}

/// Builds them as they are shipped. `cargo bench` left binaries of its own profile under the same names, for the
/// profiles share a directory: cargo puts those of the release profile back into their place.
fn built() -> anyhow::Result<PathBuf> {
    let root = env!("CARGO_MANIFEST_DIR");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--workspace", "--bins", "--locked"])
        .status()?;
    ensure!(status.success(), "cargo build --release: {status}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from(root).join("target"), PathBuf::from);
    Ok(target.join("release"))
}

/// Copies them beside the data: whoever builds meanwhile changes nothing. They are then read from the disk as after an
/// installation: of what was just written the kernel maps larger pieces, and a mebibyte more of it is resident.
fn set_aside(from: PathBuf, to: &Path) -> anyhow::Result<Measured> {
    for name in [DAEMON, AGENT] {
        let path = from.join(name);
        fs::copy(&path, to.join(name)).with_context(|| path.display().to_string())?;
        let copy = fs::File::open(to.join(name))?;
        copy.sync_all()?;
        rustix::fs::fadvise(&copy, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(Measured { daemon: to.join(DAEMON), agent: to.join(AGENT), from })
}

fn main() -> anyhow::Result<()> {
    let wanted = wanted()?;
    let bins = wanted.bins.map_or_else(built, Ok)?.canonicalize()?;
    machine::raise_open_files()?;
    let dir = tempfile::Builder::new().prefix("nixfleet-bench-").tempdir_in(&wanted.parent)?;
    let repository = Repository::new(dir.path())?;
    let bench =
        Bench { binaries: set_aside(bins, dir.path())?, dir, repository, quick: wanted.quick, agents: wanted.agents };
    let mut table = Table::default();
    let runtime = tokio::runtime::Runtime::new()?;
    println!("{}", machine::describe(&wanted.parent));
    sections::binaries(&bench, &mut table)?;
    for section in wanted.sections {
        eprintln!("\n# {}", section.name());
        let run = async { tokio::time::timeout(LONGEST, section.run(&bench, &mut table)).await };
        let ended = runtime.block_on(run).unwrap_or_else(|_| Err(anyhow!("it did not end within {LONGEST:?}")));
        if let Err(error) = ended {
            table.failed(section.name(), &error);
        }
    }
    println!("\n{}\n\n{}", machine::describe(&wanted.parent), table.markdown());
    Ok(())
}
