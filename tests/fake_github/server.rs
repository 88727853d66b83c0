//! A fake GitHub over a real bare repository: the part of the REST API that the daemon asks, with its shapes, statuses
//! and words. A merge really moves the branch that agents pull. One thread for each connection; each answer closes it.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::control::control;
use super::git::Git;
use super::pulls::Pull;
use super::wire::{Reply, Request, now, read, refuse, reply, with_tag, write};

/// How the fake is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) bare: PathBuf,
    pub(crate) repository: String,
    pub(crate) branch: String,
    /// What the token must be; none: nobody needs one.
    pub(crate) token: Option<String>,
    /// Where webhooks go, and what signs them.
    pub(crate) webhook: Option<(String, String)>,
}

impl Setup {
    pub(crate) fn new(bare: PathBuf) -> Self {
        let (repository, branch) = ("infra/fleet".to_owned(), "main".to_owned());
        Self { bare, repository, branch, token: None, webhook: None }
    }
}

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The hourly limit is used up.
    Limit {
        seconds: u64,
    },
    /// A secondary limit: `retry-after`.
    Secondary {
        seconds: u64,
    },
    /// 500 to everything.
    Broken,
    /// Answers take so long.
    Slow {
        seconds: u64,
    },
    /// Connections are dropped.
    Drop,
    /// The token may read and not write.
    NoRights,
    /// The next change is made, and its answer is lost; then all is well.
    LostMerge,
}

/// What the repository's settings say of merges.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// The branch takes nothing but reviewed pull requests.
    pub(crate) protected: bool,
    /// Checks that are not asked for have failed.
    pub(crate) checks_fail: bool,
    /// Neither merge commits nor squash merges.
    pub(crate) rebase_only: bool,
}

pub(crate) struct State {
    pub(crate) fault: Fault,
    pub(crate) rules: Rules,
    pub(crate) webhook: Option<(String, String)>,
    /// Requests, and those of them that count against the limit.
    pub(crate) asked: u64,
    pub(crate) counted: u64,
    /// Changes that came in, done or not: method and path.
    pub(crate) come: Vec<String>,
    /// Changes that were made: method and path.
    pub(crate) changes: Vec<String>,
    pulls: Vec<Pull>,
    clock: u64,
    deliveries: u64,
}

pub(crate) struct Inner {
    pub(crate) setup: Setup,
    pub(crate) git: Git,
    pub(crate) url: String,
    state: Mutex<State>,
    /// One change at a time.
    changing: Mutex<()>,
}

/// A running fake. It ends with its process.
pub(crate) struct Fake {
    pub(crate) inner: Arc<Inner>,
}

impl Fake {
    pub(crate) fn start_at(setup: Setup, listen: &str) -> Self {
        let listener = TcpListener::bind(listen).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            fault: Fault::None,
            rules: Rules::default(),
            webhook: setup.webhook.clone(),
            asked: 0,
            counted: 0,
            come: Vec::new(),
            changes: Vec::new(),
            pulls: Vec::new(),
            clock: 0,
            deliveries: 0,
        };
        let git = Git::at(&setup.bare);
        let inner = Arc::new(Inner { setup, git, url, state: Mutex::new(state), changing: Mutex::default() });
        let serving = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = Arc::clone(&serving);
                std::thread::spawn(move || inner.serve(&stream));
            }
        });
        Self { inner }
    }

    /// The API's address.
    pub(crate) fn url(&self) -> String {
        self.inner.url.clone()
    }
}

impl State {
    pub(crate) fn pull(&mut self, number: u64) -> Option<&mut Pull> {
        self.pulls.iter_mut().find(|pull| pull.number == number)
    }

    pub(crate) fn add_pull(
        &mut self,
        branch: &str,
        title: &str,
        base: &str,
        labels: Vec<String>,
        draft: bool,
        fork: bool,
    ) -> u64 {
        self.clock += 1;
        let number = 10 + self.clock;
        self.pulls.push(Pull {
            number,
            title: title.to_owned(),
            branch: branch.to_owned(),
            base: base.to_owned(),
            labels,
            draft,
            open: true,
            merged: None,
            last_head: None,
            looks: 0,
            fork,
            created: self.clock,
        });
        number
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        let Some(request) = read(stream) else { return };
        let fault = {
            let mut state = self.state();
            if !request.path.starts_with("/_/") {
                state.asked += 1;
                if request.method != "GET" {
                    let come = format!("{} {}", request.method, request.path);
                    state.come.push(come);
                }
            }
            state.fault
        };
        let mut answer = if let Some(verb) = request.path.strip_prefix("/_/") {
            control(self, verb, &request.body).map_or_else(|| refuse(400, "no such word"), |said| reply(200, &said))
        } else {
            match fault {
                Fault::Drop => return,
                Fault::Slow { seconds } => {
                    std::thread::sleep(Duration::from_secs(seconds));
                    self.answer(&request)
                }
                Fault::LostMerge if request.method != "GET" => {
                    self.answer(&request);
                    self.state().fault = Fault::None;
                    return;
                }
                Fault::None
                | Fault::LostMerge
                | Fault::NoRights
                | Fault::Limit { .. }
                | Fault::Secondary { .. }
                | Fault::Broken => self.answer(&request),
            }
        };
        if answer.status != 304 {
            self.state().counted += 1;
        }
        let (left, reset) = if let Fault::Limit { seconds } = fault { (0, seconds) } else { (4_000, 1_800) };
        answer.headers.push(("x-ratelimit-remaining".to_owned(), left.to_string()));
        answer.headers.push(("x-ratelimit-reset".to_owned(), (now() + reset).to_string()));
        answer.headers.push(("x-ratelimit-resource".to_owned(), "core".to_owned()));
        write(stream, &answer);
    }

    fn answer(&self, request: &Request) -> Reply {
        match self.state().fault {
            Fault::Limit { .. } => return refuse(403, "API rate limit exceeded for user ID 1."),
            Fault::Secondary { seconds } => {
                let mut limited = refuse(403, "You have exceeded a secondary rate limit.");
                limited.headers.push(("retry-after".to_owned(), seconds.to_string()));
                return limited;
            }
            Fault::Broken => return refuse(500, "Server Error"),
            Fault::NoRights if request.method != "GET" => {
                return refuse(403, "Resource not accessible by personal access token");
            }
            Fault::None | Fault::NoRights | Fault::Slow { .. } | Fault::Drop | Fault::LostMerge => {}
        }
        if request.path == "/version.json" {
            let head = self.git.branch(&self.setup.branch).unwrap();
            let lock = self.git.file(&head, "flake.lock").unwrap_or_default();
            let hash = ring::digest::digest(&ring::digest::SHA256, &lock);
            let told = json!({
                "gitCommit": head,
                "message": self.git.line(&["log", "-1", "--format=%s", &head]),
                "branch": self.setup.branch,
                "timestamp": self.git.line(&["log", "-1", "--format=%cI", &head]),
                "repo": self.setup.repository,
                "lockHash": data_encoding::HEXLOWER.encode(hash.as_ref()),
            });
            return with_tag(reply(200, &told), request);
        }
        if let Some(token) = &self.setup.token
            && request.header("authorization") != Some(&format!("Bearer {token}"))
        {
            return if request.header("authorization").is_some() {
                refuse(401, "Bad credentials")
            } else {
                refuse(404, "Not Found")
            };
        }
        let Some(path) = request.path.strip_prefix(&format!("/repos/{}", self.setup.repository)) else {
            return refuse(404, "Not Found");
        };
        if request.method == "GET" {
            return with_tag(self.get(path, request), request);
        }
        let _turn = self.changing.lock().unwrap();
        let answer = self.change(path, request);
        if answer.status < 300 {
            self.state().changes.push(format!("{} {path}", request.method));
        }
        answer
    }

    fn get(&self, path: &str, request: &Request) -> Reply {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            [""] => reply(200, &json!({ "full_name": self.setup.repository, "default_branch": self.setup.branch })),
            ["git", "ref", "heads", name @ ..] => match self.git.branch(&name.join("/")) {
                Some(sha) => reply(
                    200,
                    &json!({ "ref": format!("refs/heads/{}", name.join("/")), "object": { "sha": sha, "type": "commit" } }),
                ),
                None => refuse(404, "Not Found"),
            },
            ["git", "commits", name] => {
                self.commit(name).map_or_else(|| refuse(404, "Not Found"), |told| reply(200, &told))
            }
            ["contents", file @ ..] => {
                assert_eq!(request.header("accept"), Some("application/vnd.github.raw+json"));
                let at = request.param("ref").unwrap_or(&self.setup.branch);
                match self.git.file(at, &file.join("/")) {
                    Some(body) => Reply { status: 200, headers: Vec::new(), body },
                    None => refuse(404, "Not Found"),
                }
            }
            ["compare", ends] => {
                let (base, head) = ends.split_once("...").unwrap();
                let ends = (self.git.commit(base), self.git.commit(head));
                let (Some(base), Some(head)) = ends else { return refuse(404, "Not Found") };
                let (ahead, behind) = self.git.counts(&base, &head).unwrap();
                let status = match (ahead, behind) {
                    (0, 0) => "identical",
                    (_, 0) => "ahead",
                    (0, _) => "behind",
                    (_, _) => "diverged",
                };
                reply(200, &json!({ "status": status, "ahead_by": ahead, "behind_by": behind, "commits": [] }))
            }
            ["pulls"] => self.list(request),
            ["pulls", number] => {
                let mut state = self.state();
                let rules = state.rules;
                let pull = number.parse().ok().and_then(|number| state.pull(number));
                match pull {
                    Some(pull) => reply(200, &pull.single(&self.git, &self.url, &self.setup.repository, rules)),
                    None => refuse(404, "Not Found"),
                }
            }
            _ => refuse(404, "Not Found"),
        }
    }

    fn commit(&self, name: &str) -> Option<Value> {
        let sha = self.git.commit(name)?;
        let said = self.git.line(&["log", "-1", "--format=%an%n%ae%n%aI%n%cn%n%ce%n%cI%n%B", &sha])?;
        let mut lines = said.splitn(7, '\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        let author = json!({ "name": next(), "email": next(), "date": next() });
        let committer = json!({ "name": next(), "email": next(), "date": next() });
        Some(json!({
            "sha": sha,
            "author": author,
            "committer": committer,
            "message": next().trim(),
            "tree": { "sha": self.git.tree(&sha)? },
            "parents": self.git.parents(&sha).iter().map(|parent| json!({ "sha": parent })).collect::<Vec<_>>(),
        }))
    }

    /// Pages of `per_page`, with a `Link` header.
    fn list(&self, request: &Request) -> Reply {
        let state = self.state();
        let wanted = request.param("state").unwrap_or("open");
        let owner = self.setup.repository.split('/').next().unwrap();
        let mut pulls: Vec<&Pull> = state
            .pulls
            .iter()
            .filter(|pull| wanted == "all" || pull.open == (wanted == "open"))
            .filter(|pull| request.param("base").is_none_or(|base| pull.base == base))
            .filter(|pull| request.param("head").is_none_or(|head| head == format!("{owner}:{}", pull.branch)))
            .collect();
        pulls.sort_by_key(|pull| std::cmp::Reverse(pull.created));
        let number =
            |name: &str, default: usize| request.param(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        // A small page, so that there are several.
        let (page, size) = (number("page", 1), number("per_page", 30).min(2));
        let told: Vec<Value> = pulls
            .iter()
            .skip((page - 1) * size)
            .take(size)
            .map(|pull| pull.listed(&self.git, &self.url, &self.setup.repository))
            .collect();
        let mut answer = reply(200, &Value::Array(told));
        if page * size < pulls.len() {
            let mut query: String = String::new();
            for (key, value) in request.query.iter().filter(|(key, _)| key != "page") {
                write!(query, "{key}={value}&").unwrap();
            }
            let link =
                format!("<{}/repos/{}/pulls?{query}page={}>; rel=\"next\"", self.url, self.setup.repository, page + 1);
            answer.headers.push(("link".to_owned(), link));
        }
        answer
    }

    /// A branch moved: what can be merged of and into it is worked out anew, and webhooks tell.
    pub(crate) fn moved(&self, branch: &str) {
        let mut pushed_to = Vec::new();
        for pull in self.state().pulls.iter_mut().filter(|pull| pull.branch == branch || pull.base == branch) {
            pull.looks = 0;
            pushed_to.extend((pull.open && pull.branch == branch).then_some(pull.number));
        }
        for number in pushed_to {
            self.tell("pull_request", json!({ "action": "synchronize", "number": number }));
        }
        self.tell("push", json!({ "ref": format!("refs/heads/{branch}"), "after": self.git.branch(branch) }));
    }

    /// A signed webhook, by a thread of its own: GitHub does not wait either.
    pub(crate) fn tell(&self, event: &str, body: Value) {
        let (webhook, number) = {
            let mut state = self.state();
            state.deliveries += 1;
            (state.webhook.clone(), state.deliveries)
        };
        let Some((url, secret)) = webhook else { return };
        let (event, mut body) = (event.to_owned(), body);
        body["repository"] = json!({ "full_name": self.setup.repository });
        let body = body.to_string();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, body.as_bytes()).as_ref());
        std::thread::spawn(move || {
            let config =
                ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10)));
            let agent: ureq::Agent = config.build().into();
            let _ = agent
                .post(&url)
                .header("content-type", "application/json")
                .header("x-github-event", &event)
                .header("x-github-delivery", &format!("fake-{number}"))
                .header("x-hub-signature-256", &format!("sha256={tag}"))
                .send(body.as_bytes());
        });
    }
}
