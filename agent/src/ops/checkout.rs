//! Plans for the checkout: our own clone, which may be reset, cleaned and remade, and the operator's, which may not.
//!
//! Only a clone that carries our mark is ever touched with force. The mark is a file inside `.git`, written before
//! the first fetch, so a clone that was cut short is known as ours and simply goes on.

use std::path::Path;

use super::situation::{CheckoutState, Situation};
use super::step::{Action, Invocation, Refusal, Step};
use crate::record::{HostSettings, Stage};

/// The mark of our own clones, inside `.git`.
pub const MARK: &str = "nixfleet-clone";

fn step(action: Action) -> Step {
    Step::new(Stage::Checkout, "fetch", action)
}

/// `git -C <dir> …`, with the remote in the environment: its address may hold a password, and argument vectors
/// can be read by everyone on the machine.
fn git(host: &HostSettings, arguments: &[&str]) -> Action {
    let dir = host.checkout.display().to_string();
    let argv = ["git", "-C", &dir].into_iter().chain(arguments.iter().copied());
    let mut invocation = Invocation::new(argv).within("/");
    for (n, (key, value)) in git_settings(host).into_iter().enumerate() {
        invocation = invocation.with(&format!("GIT_CONFIG_KEY_{n}"), key).with(&format!("GIT_CONFIG_VALUE_{n}"), value);
    }
    // A damaged clone must never make git find, and change, a repository above it.
    let above = host.checkout.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    let count = git_settings(host).len().to_string();
    Action::Run(invocation.with("GIT_CONFIG_COUNT", count).with("GIT_CEILING_DIRECTORIES", above))
}

/// Settings of git for one call: a checkout that another user owns is trusted, and our remote has its address.
fn git_settings(host: &HostSettings) -> Vec<(&'static str, String)> {
    let mut settings = vec![("safe.directory", host.checkout.display().to_string())];
    if let Some(url) = &host.repo_url {
        settings.push(("remote.origin.url", url.clone()));
    }
    settings
}

/// Variables for every program that may call git by itself: no prompt can hang it, host keys are checked.
pub fn git_environment(host: &HostSettings) -> Vec<(String, String)> {
    let known = host.state_dir.join("known_hosts");
    let mut ssh = format!(
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={} -o ConnectTimeout=20",
        quoted(&known)
    );
    if let Some(key) = &host.ssh_key {
        ssh = format!("{ssh} -i {} -o IdentitiesOnly=yes", quoted(key));
    }
    [
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_ASKPASS", String::new()),
        ("SSH_ASKPASS", String::new()),
        ("GIT_SSH_COMMAND", ssh),
        ("GIT_CONFIG_COUNT", "1".to_owned()),
        ("GIT_CONFIG_KEY_0", "safe.directory".to_owned()),
        ("GIT_CONFIG_VALUE_0", host.checkout.display().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// A path for git's shell, in single quotes.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Something is checked out, so that it can be deployed or tested.
pub fn present(now: &Situation) -> Result<(), Refusal> {
    match now.checkout {
        CheckoutState::Absent => Err(Refusal::new(
            Stage::Checkout,
            format!("nothing is checked out in {} yet: pull first", now.checkout_dir),
        )),
        CheckoutState::Broken => Err(Refusal::new(
            Stage::Checkout,
            format!("the clone in {} is broken: pull makes it anew", now.checkout_dir),
        )),
        CheckoutState::Present { .. } | CheckoutState::Occupied => Ok(()),
    }
}

/// Brings the checkout to the remote's head.
pub fn pull(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    if host.repo_url.is_some() { pull_own(host, now) } else { pull_operators(host, now) }
}

fn pull_own(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let refuse = |why: &str| {
        let message = format!("{} {why}: name another NIXFLEET_REPO_DIR, or empty it", now.checkout_dir);
        Err(Refusal::new(Stage::Checkout, message))
    };
    let mut steps = match now.checkout {
        CheckoutState::Present { ours: true } => vec![step(Action::RemoveStaleLocks)],
        CheckoutState::Broken => vec![step(Action::RemoveClone), step(Action::MakeClone)],
        CheckoutState::Absent => vec![step(Action::MakeClone)],
        CheckoutState::Present { ours: false } => return refuse("is a checkout that the agent did not make"),
        CheckoutState::Occupied => return refuse("holds files and is no clone of the agent"),
    };
    let branch = &host.branch;
    let spec = format!("+refs/heads/{branch}:refs/remotes/origin/{branch}");
    let tracked = format!("refs/remotes/origin/{branch}");
    let local = format!("refs/heads/{branch}");
    steps.push(step(git(host, &["fetch", "--prune", "--no-tags", "--progress", "origin", &spec])));
    steps.push(step(git(host, &["symbolic-ref", "HEAD", &local])));
    steps.push(step(git(host, &["reset", "--hard", &tracked])));
    steps.push(step(git(host, &["clean", "-ffd"])));
    Ok(steps)
}

/// Asks the remote of a checkout again, and changes nothing else: for old dashboards, which leave this to the agent.
pub fn refresh(host: &HostSettings) -> Action {
    let spec = format!("+refs/heads/{0}:refs/remotes/origin/{0}", host.branch);
    git(host, &["fetch", "--no-tags", "origin", &spec])
}

fn pull_operators(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    match now.checkout {
        CheckoutState::Absent | CheckoutState::Occupied | CheckoutState::Broken => {
            let message = format!(
                "{} is no git checkout: clone the configuration there, or set NIXFLEET_REPO_URL",
                now.checkout_dir
            );
            return Err(Refusal::new(Stage::Checkout, message));
        }
        CheckoutState::Present { .. } => {}
    }
    if !now.local_changes.is_empty() {
        let some: Vec<&str> = now.local_changes.iter().take(5).map(String::as_str).collect();
        let more = if now.local_changes.len() > 5 { " …" } else { "" };
        let message = format!(
            "there are local changes in {}: commit, stash or drop them, then pull again ({}{more})",
            now.checkout_dir,
            some.join(", ")
        );
        return Err(Refusal::new(Stage::Checkout, message));
    }
    let mut steps = Vec::new();
    if now.detached {
        // A rollback left the commit that it went back to; pulling needs the branch again.
        steps.push(step(git(host, &["checkout", &host.branch])));
    }
    steps.push(step(git(host, &["pull", "--ff-only"])));
    Ok(steps)
}

/// Moves the checkout to a commit of the past.
pub fn go_to(host: &HostSettings, commit: &str) -> Step {
    if host.repo_url.is_some() {
        step(git(host, &["reset", "--hard", commit]))
    } else {
        step(git(host, &["checkout", "--detach", commit]))
    }
}

/// What tells whether our own clone is broken, after a step on it failed.
pub fn examination(host: &HostSettings) -> Action {
    git(host, &["fsck", "--connectivity-only", "--no-dangling", "--no-progress"])
}

/// Makes an empty repository; the mark follows at once.
pub fn initialisation(host: &HostSettings) -> Action {
    git(host, &["init", "--quiet"])
}

/// Lists what differs from the commit in the operator's checkout. Untracked files are left to git's own judgement.
pub fn changes(host: &HostSettings) -> Action {
    git(host, &["status", "--porcelain", "--untracked-files=no"])
}
