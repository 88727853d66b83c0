//! The API's description, from the same table that routes and authorises.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what most endpoints have in common stands once; a test says that each is described"
)]

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::router::{Endpoint, May, ROUTES, Route};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(build().to_string()));

/// `GET /api/v1/openapi.json`.
pub(super) fn document() -> Answer {
    Answer::whole(StatusCode::OK, "application/json", DOCUMENT.clone())
}

fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = route.path.replace("{*", "{");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "NixFleet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "New fields may be added; none changes its meaning within /api/v1."
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "nixfleet_session" }
            },
            "schemas": schemas()
        }
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": format!("{:?}", route.endpoint),
        "summary": route.summary,
        "security": security(route.may),
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let (Some(body), Some(operation)) = (request(route.endpoint), operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn security(may: May) -> Value {
    match may {
        May::Everyone | May::Github => json!([]),
        May::Person | May::Form => json!([{ "session": [] }]),
        May::Api(scope) => json!([{ "session": [] }, { "token": [scope.as_str()] }]),
        May::Token(scope) => json!([{ "token": [scope.as_str()] }]),
        May::Socket => json!([{ "session": [] }, { "token": ["read"] }, { "token": ["agent"] }]),
        May::Enrol => json!([{ "token": ["enrol"] }]),
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            let name = name.trim_start_matches('*');
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    let queries: &[&str] = match route.endpoint {
        Endpoint::Commands => &["host", "limit", "before"],
        Endpoint::Runs => &["limit", "before"],
        Endpoint::Events => &[
            "host", "category", "level", "actor", "action", "q", "since", "until", "within", "limit", "before",
            "format",
        ],
        Endpoint::CommandLog => &["from", "follow", "raw"],
        Endpoint::CommandLogLines => &["line", "count", "view"],
        Endpoint::CommandLogSearch => &["text", "from"],
        Endpoint::Socket => &["view", "page", "epoch", "version"],
        _ => &[],
    };
    parameters
        .extend(queries.iter().map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } })));
    if route.mutates() && matches!(route.may, May::Api(_)) {
        let description = "The session's CSRF token, where the session's cookie is used";
        let schema = json!({ "type": "string" });
        parameters
            .push(json!({ "name": "X-CSRF-Token", "in": "header", "description": description, "schema": schema }));
    }
    parameters
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({ kind: { "schema": schema } })
}

fn list(name: &str, of: &str) -> Value {
    json!({
        "type": "object",
        "properties": { "version": { "type": "integer" }, name: { "type": "array", "items": reference(of) } }
    })
}

fn responses(route: &Route) -> Value {
    let object = json!({ "type": "object" });
    let (status, schema) = match route.endpoint {
        Endpoint::Hosts => ("200", Some(list("hosts", "Host"))),
        Endpoint::Host => ("200", Some(reference("Host"))),
        Endpoint::HostMetrics => ("200", Some(reference("HostLoad"))),
        Endpoint::CreateHost => ("201", Some(reference("Host"))),
        Endpoint::Commands => ("200", Some(list("commands", "Command"))),
        Endpoint::Command => ("200", Some(reference("Command"))),
        Endpoint::Runs => ("200", Some(list("runs", "Run"))),
        Endpoint::Run => ("200", Some(reference("Run"))),
        Endpoint::StartRun | Endpoint::CancelRun | Endpoint::DecideRun => ("202", Some(reference("Run"))),
        Endpoint::CommandLogLines => ("200", Some(reference("LogWindow"))),
        Endpoint::CommandLogSearch | Endpoint::CommandLogError => ("200", Some(reference("LogFound"))),
        Endpoint::Events => ("200", Some(list("events", "Event"))),
        Endpoint::Remote => ("200", Some(reference("Remote"))),
        Endpoint::Ops => ("200", Some(list("ops", "OpEntry"))),
        Endpoint::Pipelines => ("200", Some(list("pipelines", "PipelineEntry"))),
        Endpoint::Op => ("200", Some(list("outcomes", "Outcome"))),
        Endpoint::CreateToken | Endpoint::Enrol => ("201", Some(reference("MadeToken"))),
        Endpoint::HostOp
        | Endpoint::RemoveHost
        | Endpoint::RefreshRemote
        | Endpoint::Stop
        | Endpoint::Extend
        | Endpoint::Ignore
        | Endpoint::GiveUp => ("202", Some(reference("Command"))),
        Endpoint::RevokeToken | Endpoint::EndSession => ("204", None),
        Endpoint::Sessions => ("200", Some(list("sessions", "Session"))),
        Endpoint::Notifications => (
            "200",
            Some(json!({
                "type": "object",
                "properties": { "channels": { "type": "array", "items": reference("NotificationChannel") } }
            })),
        ),
        Endpoint::TestNotification => ("200", Some(reference("NotificationTested"))),
        Endpoint::GithubWebhook => ("202", None),
        Endpoint::Socket => ("101", None),
        Endpoint::Login | Endpoint::Logout => ("303", None),
        Endpoint::Health | Endpoint::Ready | Endpoint::Tokens | Endpoint::EndSessions | Endpoint::OpenApi => {
            ("200", Some(object))
        }
        Endpoint::CommandLog
        | Endpoint::Metrics
        | Endpoint::LoginForm
        | Endpoint::Static
        | Endpoint::FleetPage
        | Endpoint::HostPage
        | Endpoint::RunPage
        | Endpoint::CommandPage
        | Endpoint::EventsPage
        | Endpoint::SettingsPage => ("200", None),
    };
    let kind = match route.endpoint {
        Endpoint::CommandLog => Some(("application/x-ndjson", reference("LogLine"))),
        Endpoint::Metrics => Some(("text/plain", json!({ "type": "string" }))),
        _ if route.is_page() && status == "200" => Some(("text/html", json!({ "type": "string" }))),
        _ => schema.map(|schema| ("application/json", schema)),
    };
    let mut done = json!({ "description": route.summary });
    if let (Some((kind, schema)), Some(done)) = (kind, done.as_object_mut()) {
        done.insert("content".to_owned(), content(kind, &schema));
    }
    let problem = json!({
        "description": "Not done: code says why",
        "content": content("application/problem+json", &reference("Problem"))
    });
    json!({ status: done, "default": problem })
}

fn request(endpoint: Endpoint) -> Option<Value> {
    let text = json!({ "type": ["string", "null"] });
    let object = |properties: Value, required: &[&str]| {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        json!({ "content": content("application/json", &schema) })
    };
    match endpoint {
        Endpoint::HostOp => {
            Some(object(json!({ "args": { "type": "object" }, "force": { "type": "boolean" }, "totp": text }), &[]))
        }
        Endpoint::Op => Some(object(
            json!({
                "hosts": { "type": "array", "items": { "type": "string" } },
                "args": { "type": "object" },
                "force": { "type": "boolean" },
                "totp": text
            }),
            &[],
        )),
        Endpoint::StartRun => Some(object(
            json!({
                "hosts": { "type": "array", "items": { "type": "string" } },
                "options": reference("RunOptions"),
                "totp": text
            }),
            &["hosts"],
        )),
        Endpoint::DecideRun => Some(object(
            json!({ "decision": { "enum": ["continue", "retry-failed", "rollback", "cancel"] } }),
            &["decision"],
        )),
        Endpoint::Extend => Some(object(json!({ "minutes": { "type": "integer", "minimum": 1 } }), &["minutes"])),
        Endpoint::CreateHost => Some(object(json!({ "name": { "type": "string" } }), &["name"])),
        Endpoint::CreateToken => Some(object(
            json!({
                "kind": { "enum": ["host", "api", "enrol"] },
                "host": text,
                "name": text,
                "scopes": { "type": "array", "items": { "enum": ["read", "operate", "admin", "metrics"] } },
                "expires_in_s": { "type": ["integer", "null"], "minimum": 1 }
            }),
            &["kind"],
        )),
        Endpoint::Enrol => Some(object(json!({ "host": { "type": "string" } }), &["host"])),
        Endpoint::Login => {
            let properties =
                json!({ "password": { "type": "string" }, "totp": text, "csrf_token": { "type": "string" } });
            let schema = json!({ "type": "object", "properties": properties });
            Some(json!({ "content": content("application/x-www-form-urlencoded", &schema) }))
        }
        _ => None,
    }
}

/// The fields of the objects; the contract says what each means.
fn schemas() -> Value {
    let mut schemas = Map::new();
    for (name, fields) in [
        (
            "Host",
            "id platform host_type state last_seen agent_version agent_protocol os_version nixpkgs_version generation lock_hash deployed location device_type color tags comment metrics disk reboot_required failed_units repo_error lights command offers broken",
        ),
        (
            "Command",
            "id host op args state code message actor force run_id created_at sent_at started_at finished_at waiting_since exit_code stage log_bytes progress details",
        ),
        ("HostLoad", "hour day"),
        (
            "Run",
            "id pipeline label actor state message stage ops hosts commands notes groups group waits halted options created_at finished_at",
        ),
        ("RunGroup", "label canary hosts state soak_until"),
        ("RunWait", "kind host command_id until message"),
        ("Halted", "at reason failed switched decisions"),
        ("PipelineEntry", "name label description ops parallel totp built_in"),
        ("Event", "id time category level actor host action message details"),
        (
            "Remote",
            "source branch commit subject author committed_at lock_hash read_at error pull_request pull_request_error merged",
        ),
        ("OpEntry", "id label description runs_on warn_s hard_s retry totp interrupts_link confirm args"),
        ("Outcome", "host command problem"),
        ("LogLine", "offset end time stream line partial"),
        ("LogWindow", "line count next lines html"),
        ("LogFound", "count lines seen"),
        ("MadeToken", "id token kind name host scopes created_at last_used expires_at"),
        ("Session", "id user created_at last_seen expires_at address browser current"),
        (
            "NotificationChannel",
            "name kind to events levels hosts tags quiet quiet_until waiting retry_at last_success last_error",
        ),
        ("NotificationTested", "channel message"),
        ("Problem", "type title status detail code message offer command_id hosts"),
    ] {
        let properties: Map<String, Value> = fields.split(' ').map(|field| (field.to_owned(), json!({}))).collect();
        let required: Vec<&str> = fields.split(' ').collect();
        schemas.insert(name.to_owned(), json!({ "type": "object", "properties": properties, "required": required }));
    }
    schemas.insert("RunOptions".to_owned(), run_options());
    Value::Object(schemas)
}

/// How a run is started: each field may be left out.
fn run_options() -> Value {
    let number = |least: u32| json!({ "type": ["integer", "null"], "minimum": least });
    json!({ "type": "object", "properties": {
        "canary": { "type": ["object", "null"], "properties": {
            "hosts": { "type": "array", "items": { "type": "string" } },
            "tag": { "type": ["string", "null"] }
        } },
        "waves": { "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "array", "items": { "type": "integer", "minimum": 1 } },
            { "type": "null" }
        ] },
        "soak_s": { "type": "integer", "minimum": 0 },
        "max_failures": number(0),
        "parallel": number(1),
        "wait_s": number(0),
        "offline": { "enum": ["wait", "skip"] },
        "force": { "type": "boolean" },
        "args": { "type": "object", "additionalProperties": { "type": "object" } }
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described() {
        let document = build();
        for route in ROUTES {
            let path = route.path.replace("{*", "{");
            let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.summary, "{path}");
            let named = path.matches('{').count();
            let listed = operation["parameters"].as_array().unwrap().iter().filter(|it| it["in"] == "path").count();
            assert_eq!(named, listed, "{path}");
        }
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = build();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
