//! The options of a run, in words.

use nixfleet_protocol::api::{Offline, Run, Waves};

use super::super::words;

/// What it was started with, a sentence for each thing that is not as usual.
pub(super) fn said(run: &Run) -> Vec<String> {
    let options = &run.options;
    let mut said = Vec::new();
    if let Some(canary) = &options.canary {
        said.push(match &canary.tag {
            Some(tag) => format!("Hosts with the tag {tag} go first."),
            None => format!("{} first.", goes(&canary.hosts)),
        });
    }
    said.extend(options.waves.as_ref().map(|waves| match waves {
        Waves::Count(count) => format!("The others follow in {}.", plural(u64::from(*count), "wave", "waves")),
        Waves::Sizes(sizes) => {
            let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
            format!("The others follow in waves of {}.", sizes.join(", "))
        }
    }));
    if options.soak_s > 0 {
        said.push(format!("Each group has to stay good for {} before the next.", words::length(options.soak_s)));
    }
    said.extend(options.max_failures.map(|most| match most {
        0 => "It halts and asks when one fails.".to_owned(),
        most => format!("It halts and asks when more than {most} fail."),
    }));
    said.extend(options.parallel.map(|many| format!("At most {} at once.", plural(u64::from(many), "host", "hosts"))));
    match (options.offline, options.wait_s) {
        (Offline::Skip, _) => said.push("Offline hosts are skipped.".to_owned()),
        (Offline::Wait, Some(seconds)) => {
            said.push(format!("A host that is away or busy is waited for, {} at most.", words::length(seconds)));
        }
        (Offline::Wait, None) => {}
    }
    if options.force {
        said.push("By force: also where nothing would change.".to_owned());
    }
    said
}

fn goes(hosts: &[nixfleet_protocol::HostId]) -> String {
    format!("{} {}", words::names(hosts), if hosts.len() == 1 { "goes" } else { "go" })
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
