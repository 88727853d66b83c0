//! One heap for all threads. glibc gives its threads up to eight heaps for each processor, and what is free in one is
//! of no use to another: with a thousand agents a tenth of the daemon's memory lay there. Its allocator takes its
//! settings from the environment alone, and reads it once, before `main`: so the daemon starts itself again, as the same
//! process, before it has done anything else.
//!
//! Nothing of it reaches the programs that the daemon starts: their environment is made from nothing. Where it can't
//! be done, or somebody has set the allocator himself, the daemon runs as it is.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where glibc reads its settings.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// One heap; what is freed is free for all threads at once; and what is larger than a few pages, such as the buffers of
/// an HTTP connection, goes back to the kernel. With 1,000 agents that is two and a half mebibytes. Small pieces are
/// kept for the next of their size (`mxfast`, as glibc has it): heartbeats are cheaper for it, and no memory could be
/// measured that it costs.
const OURS: &str = "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=8192";
/// The process that has started itself again: the loader may take `TUNABLES` away, where rights come with the file.
const DONE: &str = "_NIXFLEET_HEAP";

/// Starts this process again where its heap is not settled yet: then this does not return.
pub(super) fn settle() {
    let process = OsString::from(std::process::id().to_string());
    let Some(tunables) = wanted(env::vars_os(), &process) else { return };
    let mut args = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), args.next()) else { return };
    let error = Command::new(program).arg0(name).args(args).env(TUNABLES, tunables).env(DONE, process).exec();
    crate::cli::output::note(&format!("nixfleet: goes on with the heap as it is: {error}"));
}

/// What glibc is to be told; none: nothing.
fn wanted(environment: impl Iterator<Item = (OsString, OsString)>, process: &OsStr) -> Option<OsString> {
    if !cfg!(target_env = "gnu") {
        return None;
    }
    let mut theirs = OsString::new();
    for (name, value) in environment {
        let chosen = match name.to_str() {
            Some(DONE) => value == process,
            // The older way to say the same: MALLOC_ARENA_MAX and its like.
            Some(name) if name.starts_with("MALLOC_") && name.ends_with('_') => true,
            Some("MALLOC_ARENA_MAX" | "MALLOC_ARENA_TEST") => true,
            Some(TUNABLES) => {
                theirs = value;
                theirs.to_string_lossy().contains("glibc.malloc.")
            }
            Some(_) | None => false,
        };
        if chosen {
            return None;
        }
    }
    if !theirs.is_empty() {
        theirs.push(":");
    }
    theirs.push(OURS);
    Some(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_is_told_once_and_whoever_told_it_himself_is_left_alone() {
        if !cfg!(target_env = "gnu") {
            return;
        }
        let more = format!("glibc.rtld.optional_static_tls=0:{OURS}");
        for (environment, expected) in [
            (&[][..], Some(OURS)),
            (&[("PATH", "/bin"), (TUNABLES, "")], Some(OURS)),
            (&[(TUNABLES, "glibc.rtld.optional_static_tls=0")], Some(more.as_str())),
            (&[(TUNABLES, "glibc.malloc.arena_max=4")], None),
            (&[("MALLOC_ARENA_MAX", "2")], None),
            (&[("MALLOC_TRIM_THRESHOLD_", "65536")], None),
            (&[(DONE, "17")], None),
            (&[(DONE, "16")], Some(OURS)),
        ] {
            let given = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            assert_eq!(wanted(given, OsStr::new("17")).as_deref(), expected.map(OsStr::new), "{environment:?}");
        }
    }
}
