//! Every line of the table × everyone who could ask. Made from the table itself: nobody can add a line and forget
//! who may ask for it.

#![expect(clippy::wildcard_enum_match_arm, clippy::match_same_arms, reason = "a table of expectations reads better so")]

use super::harness::{ADMIN, Browser, SHARED, Served, Wanted, serve};
use crate::actors::store::{Scope, TokenKind};
use crate::web::router::{Endpoint, May, ROUTES, Route};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Unknown,
    Person,
    PersonWithoutCsrf,
    PersonWithoutOrigin,
    PersonFromElsewhere,
    Api(Scope),
    ApiFromElsewhere,
    Shared,
    Host,
    Enrol,
}

const ALL: &[Who] = &[
    Who::Nobody,
    Who::Unknown,
    Who::Person,
    Who::PersonWithoutCsrf,
    Who::PersonWithoutOrigin,
    Who::PersonFromElsewhere,
    Who::Api(Scope::Read),
    Who::Api(Scope::Operate),
    Who::Api(Scope::Admin),
    Who::Api(Scope::Metrics),
    Who::ApiFromElsewhere,
    Who::Shared,
    Who::Host,
    Who::Enrol,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    In,
    NoLogin,
    ToLogin,
    Forbidden,
}

/// What the contract says, written down once more and by hand.
fn expected(route: &Route, who: Who) -> Outcome {
    use Outcome::{Forbidden, In, NoLogin, ToLogin};
    let changes = route.method != "GET";
    let stranger = matches!(who, Who::Nobody | Who::Unknown);
    match route.may {
        May::Everyone => In,
        May::Github => NoLogin,
        May::Person => match who {
            Who::Person | Who::PersonWithoutCsrf | Who::PersonWithoutOrigin | Who::PersonFromElsewhere => In,
            _ => ToLogin,
        },
        May::Form => match who {
            Who::Person => In,
            Who::PersonWithoutCsrf | Who::PersonWithoutOrigin | Who::PersonFromElsewhere => Forbidden,
            _ => ToLogin,
        },
        _ if stranger => NoLogin,
        May::Api(scope) => match who {
            Who::Person => In,
            Who::PersonWithoutCsrf | Who::PersonWithoutOrigin | Who::PersonFromElsewhere => {
                if changes {
                    Forbidden
                } else {
                    In
                }
            }
            Who::ApiFromElsewhere => {
                if changes {
                    Forbidden
                } else {
                    In
                }
            }
            Who::Api(Scope::Admin) => In,
            Who::Api(Scope::Operate) => {
                if scope == Scope::Admin {
                    Forbidden
                } else {
                    In
                }
            }
            Who::Api(Scope::Read) => {
                if scope == Scope::Read {
                    In
                } else {
                    Forbidden
                }
            }
            _ => Forbidden,
        },
        May::Token(scope) => match who {
            Who::Api(having) if having == scope || having == Scope::Admin => In,
            Who::ApiFromElsewhere => In,
            _ => Forbidden,
        },
        // No upgrade is asked for: who is let in is told that.
        May::Socket => match who {
            Who::Person | Who::PersonWithoutCsrf | Who::Shared | Who::Host => In,
            Who::Api(Scope::Read | Scope::Operate | Scope::Admin) => In,
            _ => Forbidden,
        },
        May::Enrol => {
            if who == Who::Enrol {
                In
            } else {
                Forbidden
            }
        }
    }
}

fn example(path: &str) -> String {
    path.replace("{host}", "hsb0")
        .replace("{op}", "pull")
        .replace("{name}", "do-all")
        .replace("{*path}", "app.css")
        .replace("{id}", "0190b6a8-0000-7000-8000-000000000000")
}

struct Tokens {
    read: String,
    operate: String,
    admin: String,
    metrics: String,
    host: String,
    enrol: String,
}

async fn ask(served: &Served, route: &Route, who: Who, person: &Browser, tokens: &Tokens) -> (Outcome, u16) {
    let origin = served.origin();
    let form = format!("csrf_token={}", person.csrf);
    let mut body = if route.may == May::Form && who != Who::PersonWithoutCsrf { form.as_str() } else { "" };
    let bearer = |token: &str| format!("Bearer {token}");
    let token = match who {
        Who::Unknown => Some(bearer("unknown")),
        Who::Api(Scope::Read) => Some(bearer(&tokens.read)),
        Who::Api(Scope::Operate) => Some(bearer(&tokens.operate)),
        Who::Api(Scope::Admin) => Some(bearer(&tokens.admin)),
        Who::Api(Scope::Metrics) => Some(bearer(&tokens.metrics)),
        Who::ApiFromElsewhere => Some(bearer(ADMIN)),
        Who::Shared => Some(bearer(SHARED)),
        Who::Host => Some(bearer(&tokens.host)),
        Who::Enrol => Some(bearer(&tokens.enrol)),
        Who::Nobody | Who::Person | Who::PersonWithoutCsrf | Who::PersonWithoutOrigin | Who::PersonFromElsewhere => {
            None
        }
    };
    let mut headers: Vec<(&str, &str)> = Vec::new();
    if let Some(token) = &token {
        headers.push(("Authorization", token));
    }
    let by_cookie =
        matches!(who, Who::Person | Who::PersonWithoutCsrf | Who::PersonWithoutOrigin | Who::PersonFromElsewhere);
    if by_cookie {
        headers.push(("Cookie", &person.cookie));
        if who != Who::PersonWithoutCsrf && route.may != May::Form {
            headers.push(("X-CSRF-Token", &person.csrf));
        }
    } else if route.may == May::Form {
        body = "";
    }
    match who {
        Who::Person | Who::PersonWithoutCsrf => headers.push(("Origin", &origin)),
        Who::PersonFromElsewhere | Who::ApiFromElsewhere => headers.push(("Origin", "https://evil.example")),
        _ => {}
    }
    let reply = served.ask(route.method, &example(route.path), &headers, body).await;
    let outcome = match reply.status {
        401 => Outcome::NoLogin,
        303 if reply.header("location") == "/login" && route.endpoint != Endpoint::Logout => Outcome::ToLogin,
        // Logging out leads there too; then the cookie is taken away.
        303 if reply.header("location") == "/login" && reply.cookies.is_empty() => Outcome::ToLogin,
        403 => Outcome::Forbidden,
        _ => Outcome::In,
    };
    (outcome, reply.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_may_what_the_contract_says_and_no_more() {
    let served = serve(Wanted::default()).await;
    let tokens = Tokens {
        read: served.api(Scope::Read).await,
        operate: served.api(Scope::Operate).await,
        admin: served.api(Scope::Admin).await,
        metrics: served.api(Scope::Metrics).await,
        host: served.token(TokenKind::Host("hsb0".parse().unwrap())).await,
        enrol: served.token(TokenKind::Enrol).await,
    };
    let mut person = served.login().await;
    let mut wrong = Vec::new();
    for route in ROUTES {
        // The login form has rules of its own, and tests of its own.
        if route.endpoint == Endpoint::Login {
            continue;
        }
        for who in ALL {
            // Who logs out, or whose session is ended, needs to be logged in anew.
            if route.may == May::Form || route.endpoint == Endpoint::EndSessions {
                person = served.login().await;
            }
            let (outcome, status) = ask(&served, route, *who, &person, &tokens).await;
            let expected = expected(route, *who);
            if outcome != expected {
                wrong.push(format!("{} {} {who:?}: {status}, expected {expected:?}", route.method, route.path));
            }
            if status == 500 || status == 0 {
                wrong.push(format!("{} {} {who:?}: {status}", route.method, route.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_keeps_the_rules_of_its_paths() {
    for route in ROUTES {
        let api = route.path.starts_with("/api/");
        let fine = match route.may {
            May::Everyone => !api && (!route.mutates() || route.endpoint == Endpoint::Login),
            May::Person => !api && !route.mutates(),
            May::Form => !api,
            May::Api(Scope::Read) => api && !route.mutates(),
            May::Api(Scope::Operate) => api && route.mutates(),
            May::Api(Scope::Admin) => {
                api && ["/tokens", "/sessions", "/notifications"].iter().any(|of| route.path.contains(of))
            }
            May::Api(Scope::Metrics) => false,
            May::Token(scope) => scope == Scope::Metrics && route.path == "/metrics",
            May::Socket => route.path == "/ws",
            May::Enrol => route.path == "/api/v1/enrol",
            May::Github => route.path == "/webhook/github",
        };
        assert!(fine, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn the_checks_come_in_their_order() {
    let served = serve(Wanted::default()).await;
    let read = format!("Bearer {}", served.api(Scope::Read).await);
    let operate = format!("Bearer {}", served.api(Scope::Operate).await);
    for (method, path, token, body, status, code) in [
        ("GET", "/api/v1/nothing", "", "", 404, "no_such_path"),
        ("PUT", "/api/v1/hosts", "", "", 405, "method_not_allowed"),
        ("POST", "/api/v1/hosts/BAD!/ops/dance", "", "{", 401, "no_login"),
        ("POST", "/api/v1/hosts/BAD!/ops/dance", &read, "{", 403, "scope"),
        ("POST", "/api/v1/hosts/BAD!/ops/pull", &operate, "", 400, "bad_request"),
        ("POST", "/api/v1/hosts/hsb0/ops/dance", &operate, "", 400, "bad_request"),
        ("POST", "/api/v1/hosts/hsb0/ops/pull", &operate, "{", 400, "bad_request"),
        ("POST", "/api/v1/hosts/hsb0/ops/pull", &operate, "{\"colour\":1}", 400, "bad_request"),
        ("POST", "/api/v1/hosts/hsb0/ops/pull", &operate, "{\"args\":[]}", 400, "bad_request"),
        ("POST", "/api/v1/hosts/hsb0/ops/pull", &operate, "{}", 404, "no_such_host"),
        ("POST", "/api/v1/hosts/hsb0/ops/exec", &operate, "{}", 403, "scope"),
        ("POST", "/api/v1/ops/pull", &operate, "{}", 400, "bad_request"),
        ("POST", "/api/v1/ops/pull", &operate, "{\"hosts\":[\"BAD!\"]}", 400, "bad_request"),
        ("POST", "/api/v1/ops/refresh-git", &operate, "{\"hosts\":[\"a\"]}", 400, "bad_request"),
        ("GET", "/api/v1/commands/7", &read, "", 400, "bad_request"),
        ("GET", "/api/v1/commands?limit=many", &read, "", 400, "bad_request"),
        ("GET", "/api/v1/commands/0190b6a8-0000-7000-8000-000000000000", &read, "", 404, "no_such_command"),
        ("GET", "/api/v1/hosts/hsb0", &read, "", 404, "no_such_host"),
        ("POST", "/api/v1/pipelines/do-all/runs", &operate, "{}", 400, "bad_request"),
        ("POST", "/api/v1/pipelines/do-all/runs", &operate, "{\"hosts\":[\"BAD!\"]}", 400, "bad_request"),
        ("POST", "/api/v1/pipelines/do-all/runs", &operate, "{\"hosts\":[\"a\"]}", 404, "no_such_host"),
        ("POST", "/api/v1/pipelines/do-all/runs", &operate, "{\"options\":{\"dance\":1}}", 400, "bad_request"),
        ("GET", "/api/v1/runs/7", &read, "", 400, "bad_request"),
        ("GET", "/api/v1/runs/0190b6a8-0000-7000-8000-000000000000", &read, "", 404, "no_such_run"),
        ("POST", "/api/v1/pipelines/nothing/runs", &operate, "{}", 404, "no_such_pipeline"),
    ] {
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("Authorization", token)] };
        let reply = served.ask(method, path, headers, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path} {body}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{}", reply.text());
    }
}

#[tokio::test]
async fn lists_have_a_version_and_every_answer_is_guarded() {
    let served = serve(Wanted::default()).await;
    let admin = format!("Bearer {ADMIN}");
    for (path, list) in [("hosts", "hosts"), ("commands", "commands"), ("events", "events"), ("runs", "runs")] {
        let reply = served.get(&format!("/api/v1/{path}"), &[("Authorization", &admin)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.json()["version"].is_u64() && reply.json()[list].is_array(), "{}", reply.text());
    }
    for path in ["/health", "/login", "/api/v1/hosts", "/nothing", "/"] {
        let reply = served.get(path, &[]).await;
        assert!(reply.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!reply.header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("x-frame-options"), "DENY");
        assert_eq!(reply.header("referrer-policy"), "same-origin");
        assert_eq!(reply.header("strict-transport-security"), "");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn tokens_are_made_used_listed_and_ended() {
    let served = serve(Wanted::default()).await;
    let admin = format!("Bearer {ADMIN}");
    let headers = [("Authorization", admin.as_str())];
    let body = r#"{"kind":"api","name":"cli","scopes":["read"],"expires_in_s":60}"#;
    let made = served.ask("POST", "/api/v1/tokens", &headers, body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (id, token) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["token"].as_str().unwrap().to_owned());
    let used = served.get("/api/v1/hosts", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(used.status, 200);
    let listed = served.get("/api/v1/tokens", &headers).await;
    assert_eq!(listed.json()["tokens"][0]["id"], id.as_str());
    assert!(!listed.text().contains(&token));
    assert_eq!(served.ask("DELETE", &format!("/api/v1/tokens/{id}"), &headers, "").await.status, 204);
    assert_eq!(served.ask("DELETE", &format!("/api/v1/tokens/{id}"), &headers, "").await.status, 404);
    let gone = served.get("/api/v1/hosts", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(gone.status, 401);
    let events = served.get("/api/v1/events", &headers).await.text();
    assert!(events.contains("token_created") && events.contains("token_removed"), "{events}");
    assert!(!events.contains(&token));
    for bad in [
        "{}",
        r#"{"kind":"api","scopes":["read"]}"#,
        r#"{"kind":"api","name":"x","scopes":[]}"#,
        r#"{"kind":"api","name":"x","scopes":["root"]}"#,
        r#"{"kind":"host"}"#,
        r#"{"kind":"host","host":"BAD!"}"#,
        r#"{"kind":"enrol","scopes":["read"]}"#,
        r#"{"kind":"api","name":"x","scopes":["read"],"expires_in_s":0}"#,
    ] {
        assert_eq!(served.ask("POST", "/api/v1/tokens", &headers, bad).await.status, 400, "{bad}");
    }
}
