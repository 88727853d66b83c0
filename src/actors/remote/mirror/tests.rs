//! The mirror against real git repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::*;

/// A remote and a work tree that pushes to it, and the mirror of it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: TempDir::new().unwrap() };
        bench.git(".", &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        bench.git(".", &["init", "-q", "-b", "main", "work"]);
        bench.git("work", &["remote", "add", "origin", "../remote.git"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, place: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path(place))
            .args(["-c", "user.name=Someone", "-c", "user.email=someone@localhost"])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, subject: &str) -> Commit {
        self.git("work", &["commit", "-q", "--allow-empty", "-m", subject]);
        self.git("work", &["push", "-q", "--force", "origin", "main"]);
        self.git("work", &["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn commit_lock(&self, content: &str) -> Commit {
        fs::write(self.path("work/flake.lock"), content).unwrap();
        self.git("work", &["add", "flake.lock"]);
        self.commit("lock")
    }

    fn settings(&self) -> MirrorSettings {
        let address = Address::parse(self.path("remote.git").to_str().unwrap()).unwrap();
        MirrorSettings::new(address, "main", self.path("data/mirror"))
    }

    fn mirror(&self) -> Mirror {
        Mirror::new(self.settings())
    }

    /// A mirror whose git is this script; `$GIT` in it is the real one.
    fn mirror_with(&self, script: &str, silence: Duration) -> Mirror {
        let path = self.path("fake-git");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Mirror::new(MirrorSettings { program: path, silence, ..self.settings() })
    }
}

async fn read(mirror: &Mirror, interest: &[Commit]) -> Answer {
    mirror.read(interest.to_vec()).await.unwrap()
}

async fn refused(mirror: &Mirror) -> String {
    mirror.read(Vec::new()).await.unwrap_err().0
}

#[tokio::test]
async fn the_head_and_its_lock_are_read() {
    let bench = Bench::new();
    let first = bench.commit("one 'quoted' \u{e4}");
    let mirror = bench.mirror();
    let answer = read(&mirror, &[]).await;
    assert_eq!(answer.desired.commit, first);
    assert_eq!(answer.desired.subject, "one 'quoted' \u{e4}");
    assert_eq!(answer.desired.author, "Someone");
    assert!(answer.desired.committed_at.millis() > 1_600_000_000_000);
    assert_eq!(answer.desired.lock_hash, None);
    let second = bench.commit_lock("abc");
    let answer = read(&mirror, &[]).await;
    assert_eq!(answer.desired.commit, second);
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(answer.desired.lock_hash.unwrap().as_str(), hash);
}

#[tokio::test]
async fn commits_are_related_to_the_head() {
    let bench = Bench::new();
    let first = bench.commit("one");
    let second = bench.commit("two");
    let abbreviated: Commit = first.short().parse().unwrap();
    let foreign: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let mirror = bench.mirror();
    let all = [first.clone(), second.clone(), abbreviated.clone(), foreign.clone()];
    let answer = read(&mirror, &all).await;
    let told = |commit: &Commit| answer.relations[commit];
    assert_eq!(told(&first), Relation::Behind(1));
    assert_eq!(told(&abbreviated), Relation::Behind(1));
    assert_eq!(told(&second), Relation::Equal);
    assert_eq!(told(&foreign), Relation::Foreign);
    let related = mirror.relate(second, vec![first.clone(), foreign.clone()]).await;
    assert_eq!(related.relations.get(&first), Some(&Relation::Behind(1)));
    assert_eq!(related.unknown, [foreign]);
}

#[tokio::test]
async fn a_force_push_is_followed_and_what_was_overwritten_is_still_known() {
    let bench = Bench::new();
    bench.commit("one");
    let gone = bench.commit("two");
    let mirror = bench.mirror();
    read(&mirror, &[]).await;
    bench.git("work", &["reset", "-q", "--hard", "HEAD~1"]);
    let head = bench.commit("another two");
    let answer = read(&mirror, std::slice::from_ref(&gone)).await;
    assert_eq!(answer.desired.commit, head);
    assert_eq!(answer.relations[&gone], Relation::Diverged { ahead: 1, behind: 1 });
    bench.git("work", &["reset", "-q", "--hard", "HEAD~1"]);
    bench.git("work", &["push", "-q", "--force", "origin", "main"]);
    let answer = read(&mirror, std::slice::from_ref(&head)).await;
    assert_eq!(answer.relations[&head], Relation::Ahead(1));
}

#[tokio::test]
async fn a_commit_that_was_foreign_is_known_when_it_was_pushed() {
    let bench = Bench::new();
    bench.commit("one");
    let mirror = bench.mirror();
    bench.git("work", &["checkout", "-q", "-b", "side"]);
    bench.git("work", &["commit", "-q", "--allow-empty", "-m", "aside"]);
    let aside: Commit = bench.git("work", &["rev-parse", "HEAD"]).parse().unwrap();
    assert_eq!(read(&mirror, std::slice::from_ref(&aside)).await.relations[&aside], Relation::Foreign);
    bench.git("work", &["push", "-q", "origin", "side"]);
    assert_eq!(read(&mirror, std::slice::from_ref(&aside)).await.relations[&aside], Relation::Ahead(1));
}

#[tokio::test]
async fn what_is_wrong_is_a_plain_sentence() {
    let bench = Bench::new();
    let mirror = bench.mirror();
    assert!(refused(&mirror).await.contains("is empty: push a first commit"));
    bench.commit("one");
    let other = Mirror::new(MirrorSettings { branch: "production".to_owned(), ..bench.settings() });
    assert!(refused(&other).await.contains("has no branch production; it has main"));
    fs::rename(bench.path("remote.git"), bench.path("away.git")).unwrap();
    let gone = refused(&mirror).await;
    assert!(gone.contains("there is no repository at") && gone.contains("(git: "), "{gone}");
    fs::rename(bench.path("away.git"), bench.path("remote.git")).unwrap();
    read(&mirror, &[]).await;
    let nobody = Address::parse("http://me:s3cr3t@127.0.0.1:9/c.git").unwrap();
    let nobody = Mirror::new(MirrorSettings { address: nobody, ..bench.settings() });
    let sentence = refused(&nobody).await;
    assert!(sentence.contains("http://127.0.0.1:9/c.git can't be reached"), "{sentence}");
    assert!(!sentence.contains("s3cr3t"));
    let no_git = Mirror::new(MirrorSettings { program: "/nowhere/git".into(), ..bench.settings() });
    assert!(refused(&no_git).await.contains("/nowhere/git"));
}

#[tokio::test]
async fn a_hanging_git_is_stopped_with_all_that_it_started() {
    let bench = Bench::new();
    let pids = bench.path("pids");
    let script =
        format!("case $1 in fetch) sleep 600 & echo $! >{0}; wait;; *) exec git \"$@\";; esac", pids.display());
    let mirror = bench.mirror_with(&script, Duration::from_millis(300));
    let began = Instant::now();
    let sentence = refused(&mirror).await;
    assert!(sentence.contains("does not answer"), "{sentence}");
    assert!(began.elapsed() < Duration::from_secs(10));
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn what_is_not_waited_for_is_stopped_too() {
    let bench = Bench::new();
    let pids = bench.path("pids");
    let script =
        format!("case $1 in fetch) sleep 600 & echo $! >{0}; wait;; *) exec git \"$@\";; esac", pids.display());
    let mirror = bench.mirror_with(&script, Duration::from_mins(10));
    let waited = tokio::time::timeout(Duration::from_secs(2), mirror.read(Vec::new())).await;
    assert!(waited.is_err());
    wait_until_gone(&pids).await;
    // The lock went with it.
    bench.commit("one");
    read(&bench.mirror(), &[]).await;
}

async fn wait_until_gone(pids: &Path) {
    let pid = fs::read_to_string(pids).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    for _ in 0..100 {
        let state = fs::read_to_string(&stat).unwrap_or_default();
        if state.is_empty() || state.contains(") Z") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still there: {}", fs::read_to_string(&stat).unwrap());
}

#[tokio::test]
async fn a_slow_fetch_that_moves_on_is_not_stopped() {
    let bench = Bench::new();
    bench.commit("one");
    let script =
        "case $1 in fetch) for i in 1 2 3 4 5 6; do echo 'remote: slow' >&2; sleep 0.2; done;; esac; exec git \"$@\"";
    read(&bench.mirror_with(script, Duration::from_millis(800)), &[]).await;
}

#[tokio::test]
async fn stale_locks_and_half_packs_are_removed() {
    let bench = Bench::new();
    let mirror = bench.mirror();
    bench.commit("one");
    read(&mirror, &[]).await;
    let repository = bench.path("data/mirror/repo.git");
    let stale = ["refs/heads/main.lock", "packed-refs.lock", "config.lock", "objects/pack/tmp_pack_x", "HEAD.lock"];
    for name in stale {
        fs::write(repository.join(name), "").unwrap();
    }
    let second = bench.commit("two");
    assert_eq!(read(&mirror, &[]).await.desired.commit, second);
    for name in stale {
        assert!(!repository.join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_broken_mirror_is_made_anew() {
    let bench = Bench::new();
    let mirror = bench.mirror();
    let head = bench.commit_lock("1");
    let repository = bench.path("data/mirror/repo.git");
    let packed = |repository: &Path| {
        let objects = fs::read_dir(repository.join("objects")).unwrap().flatten();
        objects.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for case in ["no HEAD", "a file", "no objects", "emptied objects", "a bad ref", "a bad config"] {
        read(&mirror, &[]).await;
        match case {
            "no HEAD" => fs::remove_file(repository.join("HEAD")).unwrap(),
            "a file" => {
                fs::remove_dir_all(&repository).unwrap();
                fs::write(&repository, "x").unwrap();
            }
            "no objects" => packed(&repository).iter().for_each(|folder| fs::remove_dir_all(folder).unwrap()),
            "emptied objects" => {
                for folder in packed(&repository) {
                    for entry in fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
                        fs::remove_file(entry.path()).unwrap();
                        fs::write(entry.path(), "").unwrap();
                    }
                }
            }
            "a bad ref" => fs::write(repository.join("refs/heads/main"), "rubbish\n").unwrap(),
            _ => fs::write(repository.join("config"), "[rubbish").unwrap(),
        }
        // Another mirror object: nothing of the last answer is remembered.
        let answer = bench.mirror().read(Vec::new()).await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("{case}: {error}")).desired.commit, head, "{case}");
    }
}

#[tokio::test]
async fn what_the_machine_has_configured_for_git_does_not_count() {
    let bench = Bench::new();
    bench.commit("one");
    let script = "[ -z \"$GIT_DIR$GIT_TRACE\" ] && [ \"$GIT_CONFIG_NOSYSTEM\" = 1 ] && [ \"$GIT_TERMINAL_PROMPT\" = 0 ] \
                  && [ \"$(git config --global --list | grep -c safe.directory)\" = 1 ] || exit 9; exec git \"$@\"";
    read(&bench.mirror_with(script, Duration::from_secs(20)), &[]).await;
}

#[tokio::test]
async fn two_mirrors_of_one_folder_take_turns() {
    let bench = Bench::new();
    bench.commit("one");
    let (one, two) = (bench.mirror(), bench.mirror());
    let (first, second) = tokio::join!(read(&one, &[]), read(&two, &[]));
    assert_eq!(first, second);
}

#[tokio::test]
async fn the_login_reaches_its_server_and_no_argument_and_no_error() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let requests = tokio::spawn(async move {
        let mut heard = String::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = [0; 8192];
            let read = stream.read(&mut piece).await.unwrap();
            heard += &String::from_utf8_lossy(&piece[..read]);
            let answer = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            if heard.contains("uthorization: Basic bWU6czNjcjN0") {
                return heard;
            }
        }
        heard
    });
    let arguments = bench.path("arguments");
    let script = format!("echo \"$@\" >>{}; exec git \"$@\"", arguments.display());
    let with_login = Address::parse(&format!("http://me:s3cr3t@{server}/c.git")).unwrap();
    let program = bench.mirror_with(&script, Duration::from_secs(10)).settings.program;
    let mirror = Mirror::new(MirrorSettings { address: with_login, program, ..bench.settings() });
    let sentence = refused(&mirror).await;
    assert!(sentence.contains("was refused"), "{sentence}");
    let heard = tokio::time::timeout(Duration::from_secs(5), requests).await.unwrap().unwrap();
    assert!(heard.contains("GET /c.git/info/refs"), "{heard}");
    let said = fs::read_to_string(arguments).unwrap() + &sentence;
    assert!(!said.contains("s3cr3t") && !said.contains("bWU6"), "{said}");
}
