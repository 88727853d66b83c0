//! Logging in: limits, equal answers, codes that are good once, cookies that can't be forged.

use super::harness::{PASSWORD, TOTP, Wanted, serve};
use crate::actors::access::{Ended, totp_code};
use crate::actors::sessions::Viewer;
use nixfleet_model::access::totp_step;
use nixfleet_model::checks::TotpProof;
use nixfleet_protocol::Time;

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    let origin = served.origin();
    let headers = [("Cookie", person.cookie.as_str()), ("Origin", origin.as_str())];
    let again = served.get("/login", &headers).await;
    assert_eq!((again.status, again.header("location")), (303, "/"));
    let out = served.ask("POST", "/logout", &headers, &format!("csrf_token={}", person.csrf)).await;
    assert_eq!((out.status, out.header("location")), (303, "/login"));
    assert!(out.cookies[0].contains("Max-Age=0"), "{:?}", out.cookies);
    assert_eq!(served.get("/", &headers).await.status, 303);
    assert_eq!(served.get("/api/v1/hosts", &headers).await.status, 401);
    assert!(matches!(served.ended.lock().unwrap()[..], [Ended::Viewer(Viewer::Session(_))]));
    let events = served.handles.store.events(None, 10).await.unwrap();
    let actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["logout", "login"]);
}

#[tokio::test]
async fn the_cookie_is_for_the_browser_alone() {
    let served = serve(Wanted::default()).await;
    let reply = served.try_login(PASSWORD, "", &[]).await;
    let cookie = reply.cookies.iter().find(|cookie| cookie.starts_with("nixfleet_session=")).unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let far = [("Host", "fleet.example.org"), ("Origin", "http://fleet.example.org")];
    let reply = served.try_login(PASSWORD, "", &far).await;
    assert_eq!(reply.status, 303, "{}", reply.text());
    assert!(reply.cookies.iter().all(|cookie| cookie.contains("Secure")), "{:?}", reply.cookies);
}

#[tokio::test]
async fn a_forged_cookie_is_nobodys() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    let (name, value) = person.cookie.split_once('=').unwrap();
    let (id, tag) = value.split_once('.').unwrap();
    let flipped = if id.starts_with('A') { "B" } else { "A" };
    for forged in [id.to_owned(), format!("{id}."), format!("{flipped}{}.{tag}", &id[1..]), format!("{tag}.{id}")] {
        let reply = served.get("/api/v1/hosts", &[("Cookie", &format!("{name}={forged}"))]).await;
        assert_eq!(reply.status, 401, "{forged}");
    }
    assert_eq!(served.get("/api/v1/hosts", &[("Cookie", &person.cookie)]).await.status, 200);
}

#[tokio::test]
async fn the_form_needs_its_own_cookie_and_origin() {
    let served = serve(Wanted::default()).await;
    let (cookie, token) = served.form().await;
    let origin = served.origin();
    let body = format!("password=correct+horse&csrf_token={token}");
    for (headers, body) in [
        (vec![("Origin", origin.as_str())], body.as_str()),
        (vec![("Cookie", cookie.as_str()), ("Origin", &origin)], "password=correct+horse"),
        (vec![("Cookie", cookie.as_str()), ("Origin", &origin)], "password=correct+horse&csrf_token=x"),
        (vec![("Cookie", cookie.as_str())], &body),
        (vec![("Cookie", cookie.as_str()), ("Origin", "null")], &body),
        (vec![("Cookie", cookie.as_str()), ("Origin", "https://evil.example")], &body),
    ] {
        let reply = served.ask("POST", "/login", &headers, body).await;
        assert_eq!(reply.status, 403, "{headers:?} {body}");
        assert!(reply.cookie("nixfleet_session").is_none());
        assert!(reply.header("content-type").starts_with("text/html"));
    }
}

#[tokio::test]
async fn five_wrong_ones_a_minute_and_a_header_changes_nothing() {
    let served = serve(Wanted::default()).await;
    for number in 0..5 {
        let forged = format!("203.0.113.{number}");
        let reply = served.try_login("wrong", "", &[("X-Forwarded-For", &forged)]).await;
        assert_eq!(reply.status, 401, "{}", reply.text());
    }
    let reply = served.try_login(PASSWORD, "", &[("X-Forwarded-For", "203.0.113.99")]).await;
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 50);
    let events = served.handles.store.events(None, 10).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "login_failed").count(), 5);
    assert!(events.iter().all(|event| event.message.contains("127.0.0.1")), "{events:?}");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit_and_the_account_one() {
    let served = serve(Wanted { trusted: vec!["127.0.0.1".parse().unwrap()], ..Wanted::default() }).await;
    for number in 0..20 {
        let client = format!("203.0.113.{}", number / 4);
        assert_eq!(served.try_login("wrong", "", &[("X-Forwarded-For", &client)]).await.status, 401);
    }
    assert_eq!(served.try_login(PASSWORD, "", &[("X-Forwarded-For", "198.51.100.1")]).await.status, 429);
}

#[tokio::test]
async fn many_good_logins_are_no_attack() {
    let served = serve(Wanted::default()).await;
    for _ in 0..12 {
        served.login().await;
    }
}

#[tokio::test]
async fn the_answer_does_not_tell_which_part_was_wrong() {
    let served = serve(Wanted { totp: true, ..Wanted::default() }).await;
    let code = totp_code(TOTP, totp_step(Time::now()));
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let mut answers = Vec::new();
    for (password, totp) in [("wrong", code.as_str()), (PASSWORD, wrong), ("wrong", wrong), (PASSWORD, "")] {
        let reply = served.try_login(password, totp, &[]).await;
        assert_eq!(reply.status, 401);
        // Each form has a token of its own; all else is the same.
        let page = reply.text();
        let token = super::harness::between(&page, "name=\"csrf_token\" value=\"", "\"");
        answers.push(page.replace(&token, ""));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
}

#[tokio::test]
async fn a_code_is_good_once_wherever_it_is_given() {
    let served = serve(Wanted { totp: true, ..Wanted::default() }).await;
    let step = totp_step(Time::now());
    let (code, next) = (totp_code(TOTP, step), totp_code(TOTP, step + 1));
    assert_eq!(served.try_login(PASSWORD, &code, &[]).await.status, 303);
    assert_eq!(served.try_login(PASSWORD, &code, &[]).await.status, 401);
    let here = "192.0.2.1".parse().unwrap();
    let prove = |code: &str| served.handles.access.prove_totp(Some(code.to_owned()), here);
    assert_eq!(prove(&code).await.unwrap(), TotpProof::Invalid);
    assert_eq!(prove(&next).await.unwrap(), TotpProof::Valid);
    assert_eq!(prove(&next).await.unwrap(), TotpProof::Invalid);
    assert_eq!(served.handles.access.prove_totp(None, here).await.unwrap(), TotpProof::NotGiven);
    // Wrong codes count against the same limit as passwords.
    for _ in 0..3 {
        assert_eq!(prove("000000").await.unwrap(), TotpProof::Invalid);
    }
    assert!(prove("000000").await.is_err());
}

#[tokio::test]
async fn where_base_url_is_set_it_is_the_only_origin() {
    let served = serve(Wanted { base_url: Some("https://fleet.example.org"), ..Wanted::default() }).await;
    assert_eq!(served.try_login(PASSWORD, "", &[]).await.status, 403);
    let reply = served.try_login(PASSWORD, "", &[("Origin", "https://fleet.example.org")]).await;
    assert_eq!(reply.status, 303);
}
