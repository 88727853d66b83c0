//! The bare repository behind the fake: what GitHub does to a branch, done by git itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Each writer has an index of its own.
static NEXT_INDEX: AtomicU32 = AtomicU32::new(0);

/// A bare repository.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    bare: PathBuf,
}

/// Who makes a commit, and when.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) email: String,
    /// As git reads dates; none: now.
    pub(crate) date: Option<String>,
}

impl Who {
    pub(crate) fn github() -> Self {
        Self { name: "GitHub".to_owned(), email: "noreply@github.com".to_owned(), date: None }
    }
}

impl Git {
    pub(crate) fn at(bare: &Path) -> Self {
        Self { bare: bare.to_owned() }
    }

    fn command(&self, args: &[&str], who: &Who) -> std::process::Output {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.bare).args(args);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), &who.name).env(format!("GIT_{role}_EMAIL"), &who.email);
            if let Some(date) = &who.date {
                command.env(format!("GIT_{role}_DATE"), date);
            }
        }
        command.output().unwrap()
    }

    /// What git prints; nothing where it fails.
    pub(crate) fn try_run(&self, args: &[&str]) -> Option<Vec<u8>> {
        let output = self.command(args, &Who::github());
        output.status.success().then_some(output.stdout)
    }

    pub(crate) fn line(&self, args: &[&str]) -> Option<String> {
        self.try_run(args).map(|out| String::from_utf8_lossy(&out).trim().to_owned())
    }

    /// A commit by any name of it.
    pub(crate) fn commit(&self, name: &str) -> Option<String> {
        self.line(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
    }

    pub(crate) fn branch(&self, name: &str) -> Option<String> {
        self.commit(&format!("refs/heads/{name}"))
    }

    pub(crate) fn tree(&self, commit: &str) -> Option<String> {
        self.line(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")])
    }

    pub(crate) fn parents(&self, commit: &str) -> Vec<String> {
        let line = self.line(&["rev-list", "--parents", "-n1", commit]).unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    }

    /// What ours lacks of theirs, and theirs of ours: ahead, behind of theirs.
    pub(crate) fn counts(&self, ours: &str, theirs: &str) -> Option<(u32, u32)> {
        let said = self.line(&["rev-list", "--count", "--left-right", &format!("{ours}...{theirs}")])?;
        let mut counts = said.split_whitespace().map(|count| count.parse().unwrap());
        let (behind, ahead) = (counts.next()?, counts.next()?);
        Some((ahead, behind))
    }

    pub(crate) fn is_ancestor(&self, old: &str, new: &str) -> bool {
        self.try_run(&["merge-base", "--is-ancestor", old, new]).is_some()
    }

    /// The tree of a merge; none: a conflict.
    pub(crate) fn merged_tree(&self, ours: &str, theirs: &str) -> Option<String> {
        self.line(&["merge-tree", "--write-tree", ours, theirs]).map(|out| out.lines().next().unwrap().to_owned())
    }

    pub(crate) fn commit_tree(&self, tree: &str, parents: &[&str], message: &str, who: &Who) -> String {
        let mut args = vec!["commit-tree", tree];
        for parent in parents {
            args.extend(["-p", parent]);
        }
        args.extend(["-m", message]);
        let output = self.command(&args, who);
        assert!(output.status.success(), "commit-tree: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn set_branch(&self, name: &str, commit: &str) {
        assert!(self.try_run(&["update-ref", &format!("refs/heads/{name}"), commit]).is_some());
    }

    pub(crate) fn delete_branch(&self, name: &str) -> bool {
        self.branch(name).is_some() && self.try_run(&["update-ref", "-d", &format!("refs/heads/{name}")]).is_some()
    }

    pub(crate) fn file(&self, commit: &str, path: &str) -> Option<Vec<u8>> {
        self.try_run(&["show", &format!("{commit}:{path}")])
    }

    /// A new commit on a branch that changes one file; the branch begins at `from` where it is new.
    pub(crate) fn write(&self, branch: &str, from: &str, path: &str, content: &str, subject: &str) -> String {
        let parent = self.branch(branch).or_else(|| self.branch(from)).unwrap();
        let number = NEXT_INDEX.fetch_add(1, Ordering::Relaxed);
        let index = self.bare.join(format!("fake-index-{number}"));
        let index_text = index.display().to_string();
        let run = |args: &[&str], input: Option<&str>| {
            use std::io::Write as _;
            let mut command = Command::new("git");
            command.arg("-C").arg(&self.bare).args(args).env("GIT_INDEX_FILE", &index_text);
            command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "git {args:?}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        run(&["read-tree", &parent], None);
        let blob = run(&["hash-object", "-w", "--stdin"], Some(content));
        let kind = if content.starts_with("#!") { "100755" } else { "100644" };
        run(&["update-index", "--add", "--cacheinfo", &format!("{kind},{blob},{path}")], None);
        let tree = run(&["write-tree"], None);
        let _ = std::fs::remove_file(index);
        let who = Who { name: "updates".to_owned(), email: "updates@localhost".to_owned(), date: None };
        let made = self.commit_tree(&tree, &[&parent], subject, &who);
        self.set_branch(branch, &made);
        made
    }
}
