//! Sessions through the API, the pages of settings and events, and the audit log with its filters.

use super::harness::{ADMIN, Browser, Served, Wanted, serve};
use crate::actors::store::Scope;

async fn delete(served: &Served, person: &Browser, path: &str) -> u16 {
    let origin = served.origin();
    let headers = [("Cookie", person.cookie.as_str()), ("X-CSRF-Token", &person.csrf), ("Origin", &origin)];
    served.ask("DELETE", path, &headers, "").await.status
}

#[tokio::test]
async fn one_sees_ones_sessions_and_ends_one_or_all_others() {
    let served = serve(Wanted::default()).await;
    let (first, second, third) = (served.login().await, served.login().await, served.login().await);
    let listed = served.get("/api/v1/sessions", &[("Cookie", &second.cookie)]).await;
    let sessions = listed.json()["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 3);
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["address"], "127.0.0.1");
    assert!(!listed.text().contains(&second.csrf) && !listed.text().contains("csrf"), "{}", listed.text());
    // The newest stands first.
    let newest = sessions[0]["id"].as_str().unwrap();
    assert_eq!(delete(&served, &second, &format!("/api/v1/sessions/{newest}")).await, 204);
    assert_eq!(delete(&served, &second, &format!("/api/v1/sessions/{newest}")).await, 404);
    assert_eq!(delete(&served, &second, "/api/v1/sessions/x").await, 400);
    let status = async |person: &Browser| served.get("/api/v1/hosts", &[("Cookie", &person.cookie)]).await.status;
    assert_eq!((status(&first).await, status(&second).await, status(&third).await), (200, 200, 401));
    assert_eq!(delete(&served, &second, "/api/v1/sessions").await, 200);
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
    let admin = format!("Bearer {ADMIN}");
    let reply = served.ask("DELETE", "/api/v1/sessions", &[("Authorization", &admin)], "").await;
    assert_eq!(reply.json()["ended"], 1);
    assert_eq!(status(&second).await, 401);
}

#[tokio::test]
async fn the_settings_show_tokens_and_sessions_and_no_secret_of_them() {
    let served = serve(Wanted { totp: true, ..Wanted::default() }).await;
    let token = served.api(Scope::Read).await;
    let code = crate::actors::access::totp_code(
        super::harness::TOTP,
        nixfleet_model::access::totp_step(nixfleet_protocol::Time::now()),
    );
    let cookie = served.try_login(super::harness::PASSWORD, &code, &[]).await.cookie("nixfleet_session").unwrap();
    let page = served.get("/settings", &[("Cookie", &cookie)]).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    for part in ["this one", "never used", "127.0.0.1", "Set up.", "Room on the disk", "none is known"] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains(&token) && !text.contains(cookie.split_once('=').unwrap().1), "{text}");
}

#[tokio::test]
async fn the_audit_log_is_filtered_over_all_that_is_stored_and_exported() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    for number in 0..12 {
        served.try_login("wrong", "", &[]).await;
        if number % 4 == 3 {
            break;
        }
    }
    let admin = format!("Bearer {ADMIN}");
    let headers = [("Authorization", admin.as_str())];
    let get = async |query: &str| served.get(&format!("/api/v1/events?{query}"), &headers).await;
    let failed = get("level=warn&q=FAILED%20login&limit=3").await.json();
    assert_eq!(failed["events"].as_array().unwrap().len(), 3);
    let next = failed["next"].as_str().unwrap();
    let rest = get(&format!("level=warn&q=failed&before={next}")).await.json();
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (1, &serde_json::Value::Null));
    assert_eq!(get("action=login&within=1h").await.json()["events"].as_array().unwrap().len(), 1);
    assert_eq!(get("until=2020-01-01T00:00:00Z").await.json()["events"].as_array().unwrap().len(), 0);
    for bad in ["level=loud", "category=x", "within=soon", "format=xml", "host=BAD!"] {
        assert_eq!(get(bad).await.status, 400, "{bad}");
    }
    let lines = get("format=ndjson&actor=USER").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert!(lines.header("content-disposition").starts_with("attachment"));
    assert_eq!(lines.text().matches("\"action\":\"login_failed\"").count(), 4, "{}", lines.text());

    let page = served.get("/events?level=warn&within=24h", &[("Cookie", &person.cookie)]).await.text();
    assert_eq!(page.matches("<li id=\"event:").count(), 4, "{page}");
    assert!(page.contains("data-page=\"events?level=warn\""), "what comes later is after any time");
    assert!(page.contains("href=\"/api/v1/events?level=warn&#38;within=24h&#38;format=ndjson\""), "{page}");
    let bad = served.get("/events?level=loud", &[("Cookie", &person.cookie)]).await;
    assert!(bad.status == 400 && bad.header("content-type").starts_with("text/html"));
}
