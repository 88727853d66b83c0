//! The table of everything that can be asked for: method, path, who may, and in a few words what it is. Routing,
//! authorisation, the API's description and the tests read this one table; there is no route beside it.

use std::str::FromStr;
use std::sync::LazyLock;

use hyper::Method;
use nixfleet_model::access::Scope;
use nixfleet_protocol::ids::BadId;

use super::problem::Refused;

/// Everything that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The process answers.
    Health,
    /// Everything makes progress.
    Ready,
    /// For Prometheus.
    Metrics,
    /// The login page.
    LoginForm,
    /// Somebody logs in.
    Login,
    /// Somebody leaves.
    Logout,
    /// A static file.
    Static,
    /// The page of the fleet.
    FleetPage,
    /// The page of a host.
    HostPage,
    /// The page of a run.
    RunPage,
    /// The page of a command.
    CommandPage,
    /// The page of the audit log.
    EventsPage,
    /// The settings.
    SettingsPage,
    /// Agents and tabs.
    Socket,
    /// The registry of ops.
    Ops,
    /// The pipelines.
    Pipelines,
    /// All hosts.
    Hosts,
    /// One host.
    Host,
    /// How busy a host was.
    HostMetrics,
    /// Make a host.
    CreateHost,
    /// Remove a host.
    RemoveHost,
    /// An op on one host.
    HostOp,
    /// An op on many hosts, or on none.
    Op,
    /// Commands.
    Commands,
    /// One command.
    Command,
    /// A command's log.
    CommandLog,
    /// Lines of a command's log.
    CommandLogLines,
    /// Lines of a command's log that have a text.
    CommandLogSearch,
    /// The line of a command's log where its failure begins.
    CommandLogError,
    /// Stop a command.
    Stop,
    /// Give a command more time.
    Extend,
    /// Let a command take as long as it likes.
    Ignore,
    /// Nobody will say how a command ended.
    GiveUp,
    /// Runs of pipelines.
    Runs,
    /// One run.
    Run,
    /// Start a pipeline.
    StartRun,
    /// Cancel a run.
    CancelRun,
    /// A person decides of a halted run.
    DecideRun,
    /// The audit log.
    Events,
    /// The desired state.
    Remote,
    /// Ask the remote now.
    RefreshRemote,
    /// The tokens.
    Tokens,
    /// Make a token.
    CreateToken,
    /// End a token.
    RevokeToken,
    /// How people are told.
    Notifications,
    /// Try a channel.
    TestNotification,
    /// The sessions.
    Sessions,
    /// End a session.
    EndSession,
    /// End all other sessions.
    EndSessions,
    /// A one-time token for a host's own.
    Enrol,
    /// The description of all this.
    OpenApi,
    /// GitHub tells of a push.
    GithubWebhook,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Everyone.
    Everyone,
    /// A logged-in person; others are led to the login page.
    Person,
    /// A logged-in person with the CSRF token in the form.
    Form,
    /// A logged-in person (with the CSRF header, where something changes), or an API token of this scope.
    Api(Scope),
    /// An API token of this scope, and nobody else.
    Token(Scope),
    /// An agent, an API token of scope `read`, or a logged-in person's tab.
    Socket,
    /// A machine with a token for enrolment.
    Enrol,
    /// Who knows the secret that GitHub signs with.
    Github,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// What it is.
    pub endpoint: Endpoint,
    /// By which method.
    pub method: &'static str,
    /// Where, with `{names}` of what varies.
    pub path: &'static str,
    /// Who may.
    pub may: May,
    /// In a few words.
    pub summary: &'static str,
}

const fn get(path: &'static str, endpoint: Endpoint, may: May, summary: &'static str) -> Route {
    Route { endpoint, method: "GET", path, may, summary }
}

const fn post(path: &'static str, endpoint: Endpoint, may: May, summary: &'static str) -> Route {
    Route { endpoint, method: "POST", path, may, summary }
}

const fn delete(path: &'static str, endpoint: Endpoint, may: May, summary: &'static str) -> Route {
    Route { endpoint, method: "DELETE", path, may, summary }
}

const READ: May = May::Api(Scope::Read);
const OPERATE: May = May::Api(Scope::Operate);
const ADMIN: May = May::Api(Scope::Admin);

/// The table.
pub const ROUTES: &[Route] = &[
    get("/health", Endpoint::Health, May::Everyone, "The process answers"),
    get("/readyz", Endpoint::Ready, May::Everyone, "Everything makes progress"),
    get("/metrics", Endpoint::Metrics, May::Token(Scope::Metrics), "Figures for Prometheus"),
    get("/login", Endpoint::LoginForm, May::Everyone, "The login page"),
    post("/login", Endpoint::Login, May::Everyone, "Log in"),
    post("/logout", Endpoint::Logout, May::Form, "Log out"),
    get("/static/{*path}", Endpoint::Static, May::Everyone, "A static file"),
    get("/", Endpoint::FleetPage, May::Person, "The fleet"),
    get("/hosts/{host}", Endpoint::HostPage, May::Person, "A host"),
    get("/runs/{id}", Endpoint::RunPage, May::Person, "A run"),
    get("/commands/{id}", Endpoint::CommandPage, May::Person, "A command"),
    get("/events", Endpoint::EventsPage, May::Person, "The audit log"),
    get("/settings", Endpoint::SettingsPage, May::Person, "The settings"),
    get("/ws", Endpoint::Socket, May::Socket, "Agents and tabs"),
    get("/api/v1/ops", Endpoint::Ops, READ, "The registry of ops"),
    get("/api/v1/pipelines", Endpoint::Pipelines, READ, "The pipelines"),
    get("/api/v1/hosts", Endpoint::Hosts, READ, "All hosts"),
    get("/api/v1/hosts/{host}", Endpoint::Host, READ, "One host"),
    get(
        "/api/v1/hosts/{host}/metrics",
        Endpoint::HostMetrics,
        READ,
        "The load of a host: the last hour and the last 24",
    ),
    post("/api/v1/hosts", Endpoint::CreateHost, OPERATE, "Make a host"),
    delete("/api/v1/hosts/{host}", Endpoint::RemoveHost, OPERATE, "Remove a host"),
    post("/api/v1/hosts/{host}/ops/{op}", Endpoint::HostOp, OPERATE, "Start an op on a host"),
    post("/api/v1/ops/{op}", Endpoint::Op, OPERATE, "Start an op on many hosts, or one that concerns no host"),
    get("/api/v1/commands", Endpoint::Commands, READ, "Commands, newest first"),
    get("/api/v1/commands/{id}", Endpoint::Command, READ, "One command"),
    get("/api/v1/commands/{id}/log", Endpoint::CommandLog, READ, "The output of a command"),
    get("/api/v1/commands/{id}/log/lines", Endpoint::CommandLogLines, READ, "Lines of a log, by their numbers"),
    get("/api/v1/commands/{id}/log/search", Endpoint::CommandLogSearch, READ, "The lines of a log that have a text"),
    get("/api/v1/commands/{id}/log/first-error", Endpoint::CommandLogError, READ, "The line to look at first"),
    post("/api/v1/commands/{id}/stop", Endpoint::Stop, OPERATE, "Stop a command"),
    post("/api/v1/commands/{id}/extend", Endpoint::Extend, OPERATE, "Give a command more time"),
    post("/api/v1/commands/{id}/ignore", Endpoint::Ignore, OPERATE, "Let a command take as long as it likes"),
    post("/api/v1/commands/{id}/give-up", Endpoint::GiveUp, OPERATE, "Nobody will say how it ended"),
    get("/api/v1/runs", Endpoint::Runs, READ, "Runs of pipelines, newest first"),
    get("/api/v1/runs/{id}", Endpoint::Run, READ, "One run"),
    post("/api/v1/pipelines/{name}/runs", Endpoint::StartRun, OPERATE, "Start a pipeline"),
    post("/api/v1/runs/{id}/cancel", Endpoint::CancelRun, OPERATE, "Cancel a run"),
    post("/api/v1/runs/{id}/decide", Endpoint::DecideRun, OPERATE, "Decide how a halted run goes on"),
    get("/api/v1/events", Endpoint::Events, READ, "The audit log, newest first"),
    get("/api/v1/remote", Endpoint::Remote, READ, "The desired state"),
    post("/api/v1/remote/refresh", Endpoint::RefreshRemote, OPERATE, "Ask the remote now"),
    get("/api/v1/tokens", Endpoint::Tokens, ADMIN, "The tokens, without their secrets"),
    post("/api/v1/tokens", Endpoint::CreateToken, ADMIN, "Make a token"),
    delete("/api/v1/tokens/{id}", Endpoint::RevokeToken, ADMIN, "End a token"),
    get("/api/v1/notifications", Endpoint::Notifications, READ, "How people are told, without secrets"),
    post(
        "/api/v1/notifications/{channel}/test",
        Endpoint::TestNotification,
        ADMIN,
        "Send a test; answers with what the receiver said",
    ),
    get("/api/v1/sessions", Endpoint::Sessions, ADMIN, "Who is logged in, from where and since when"),
    delete("/api/v1/sessions", Endpoint::EndSessions, ADMIN, "End all sessions but the one that asks"),
    delete("/api/v1/sessions/{id}", Endpoint::EndSession, ADMIN, "End a session"),
    post("/api/v1/enrol", Endpoint::Enrol, May::Enrol, "Exchange a one-time token for a host's own"),
    get("/api/v1/openapi.json", Endpoint::OpenApi, READ, "This description"),
    post("/webhook/github", Endpoint::GithubWebhook, May::Github, "GitHub tells of a push"),
];

impl Route {
    /// Whether something changes by it.
    pub fn mutates(&self) -> bool {
        self.method != "GET"
    }

    /// Whether people read the answer, and not programs.
    pub fn is_page(&self) -> bool {
        match self.may {
            May::Person | May::Form => true,
            May::Everyone => matches!(self.endpoint, Endpoint::LoginForm | Endpoint::Login),
            May::Api(_) | May::Token(_) | May::Socket | May::Enrol | May::Github => false,
        }
    }
}

static ROUTER: LazyLock<matchit::Router<Vec<&'static Route>>> = LazyLock::new(|| {
    let mut by_path: Vec<(&'static str, Vec<&'static Route>)> = Vec::new();
    for route in ROUTES {
        match by_path.iter_mut().find(|(path, _)| *path == route.path) {
            Some((_, routes)) => routes.push(route),
            None => by_path.push((route.path, vec![route])),
        }
    }
    let mut router = matchit::Router::new();
    for (path, routes) in by_path {
        if let Err(error) = router.insert(path, routes) {
            // A test routes every line of the table.
            tracing::error!(path, %error, "two paths of the table clash");
        }
    }
    router
});

/// A request that has a place in the table.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The line.
    pub route: &'static Route,
    params: Vec<(String, String)>,
}

impl Matched {
    /// What varies in the path, read as what it is.
    pub fn id<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<T, Refused> {
        Ok(self.text(name)?.parse::<T>()?)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> Result<&str, Refused> {
        let found = self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.ok_or_else(Refused::no_such_path)
    }
}

/// The place of a request in the table. HEAD is GET without the body.
pub fn find(method: &Method, path: &str) -> Result<Matched, Refused> {
    let found = ROUTER.at(path).map_err(|_| Refused::no_such_path())?;
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    let Some(route) = found.value.iter().copied().find(|route| route.method == asked) else {
        let mut allow: Vec<&str> = found.value.iter().map(|route| route.method).collect();
        if allow.contains(&"GET") {
            allow.push("HEAD");
        }
        return Err(Refused::method(allow.join(", ")));
    };
    let params = found.params.iter().map(|(key, value)| (key.to_owned(), percent_decoded(value))).collect();
    Ok(Matched { route, params })
}

/// `%41` as `A`. What is no escape stays as it is; what is no UTF-8 becomes what no id allows.
fn percent_decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape =
            (bytes[at] == b'%').then(|| Some((digit(bytes.get(at + 1))?, digit(bytes.get(at + 2))?))).flatten();
        if let Some((high, low)) = escape {
            decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of the table with something in place of the names.
    fn example(path: &str) -> String {
        path.replace("{host}", "hsb0")
            .replace("{op}", "pull")
            .replace("{name}", "do-all")
            .replace("{*path}", "a.css")
            .replace("{channel}", "ntfy")
            .replace("{id}", "0190b6a8-0000-7000-8000-000000000000")
    }

    #[test]
    fn every_line_of_the_table_is_found() {
        for route in ROUTES {
            let found = find(&route.method.parse().unwrap(), &example(route.path)).unwrap();
            assert_eq!(found.route.endpoint, route.endpoint, "{}", route.path);
        }
    }

    #[test]
    fn every_route_for_programs_is_in_the_document_for_people() {
        let document = include_str!("../../docs/api.md");
        for route in ROUTES.iter().filter(|route| !route.is_page()) {
            let (Route { method, path, .. }, scope) = (route, route.may);
            if matches!(route.endpoint, Endpoint::Static | Endpoint::Socket) {
                continue;
            }
            let line = document.lines().find(|line| line.starts_with(&format!("| {method} `{path}` ")));
            let line = line.unwrap_or_else(|| panic!("{method} {path} is not in docs/api.md"));
            if let May::Api(scope) | May::Token(scope) = scope {
                assert!(line.contains(&format!("| `{}` |", scope.as_str())), "the scope of {method} {path}: {line}");
            }
        }
        for line in document.lines().filter(|line| line.starts_with("| GET ") || line.starts_with("| POST ")) {
            let path = line.split('`').nth(1).unwrap();
            assert!(ROUTES.iter().any(|route| route.path == path), "{path} is in docs/api.md, and nowhere else");
        }
    }

    #[test]
    fn every_code_of_a_merge_and_a_revert_is_in_the_document_for_people() {
        let document = include_str!("../../docs/api.md");
        let table = document.split("| code | what it means |").nth(1).unwrap().split("\n\n").next().unwrap();
        let told: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(told, nixfleet_model::remote::code::Code::ALL.map(nixfleet_model::remote::code::Code::as_str));
    }

    #[test]
    fn what_is_not_in_the_table_is_not_there() {
        for path in ["/api/v1", "/api/v1/hostses", "//", "/hosts", "/hosts/a/b", "/static", "", "*"] {
            assert_eq!(find(&Method::GET, path).unwrap_err().status.as_u16(), 404, "{path}");
        }
        let refused = find(&Method::DELETE, "/api/v1/hosts").unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.allow.as_deref()), (405, Some("GET, POST, HEAD")));
        assert!(find(&Method::HEAD, "/health").is_ok());
    }

    #[test]
    fn what_varies_is_decoded_and_parsed() {
        let found = find(&Method::GET, "/hosts/HSB%30").unwrap();
        assert_eq!(found.id::<nixfleet_protocol::HostId>("host").unwrap().as_str(), "hsb0");
        let bad = find(&Method::GET, "/hosts/%2e%2e%2fetc").unwrap();
        assert_eq!(bad.id::<nixfleet_protocol::HostId>("host").unwrap_err().status.as_u16(), 400);
        assert_eq!(percent_decoded("%4"), "%4");
        assert_eq!(percent_decoded("%zz%ff"), "%zz\u{fffd}");
    }
}
