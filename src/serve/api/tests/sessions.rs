//! Logging in at the console, and what a cookie is good for.

use super::*;

/// A page that has logged in.
struct Page {
    cookie: String,
    token: String,
}

impl Page {
    async fn log_in(bench: &Bench, user: &str) -> Self {
        let (status, headers, body) = send(bench, "POST", "/api/v1/session", &[], Some(&login(user, "secret"))).await;
        assert_eq!(status, 200, "{body}");
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("annunciator=") && cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
        let cookie = cookie.split(';').next().unwrap().to_owned();
        assert!(!body.to_string().contains(&cookie["annunciator=".len()..]), "scripts never see the id");
        Self { cookie, token: body["csrf_token"].as_str().unwrap().to_owned() }
    }

    async fn ask(&self, bench: &Bench, method: &str, path: &str, token: &str, body: Option<&str>) -> (u16, Json) {
        let mut headers = vec![("cookie", self.cookie.as_str())];
        headers.extend((!token.is_empty()).then_some(("x-csrf-token", token)));
        let (status, _, body) = send(bench, method, path, &headers, body).await;
        (status, body)
    }
}

fn login(user: &str, password: &str) -> String {
    json!({ "user": user, "password": password }).to_string()
}

async fn send(
    bench: &Bench,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> (u16, axum::http::HeaderMap, Json) {
    let response = bench.raw(method, path, headers, body.map(str::to_owned), "198.51.100.7:9").await;
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_page_logs_in_acts_and_logs_out() {
    let bench = Bench::new().await;
    let page = Page::log_in(&bench, "operator").await;
    let (status, me) = page.ask(&bench, "GET", "/api/v1/session", "", None).await;
    let expected = (200, &json!("operator"), &json!("operator"), &json!("session"), &json!(page.token));
    assert_eq!((status, &me["user"], &me["role"], &me["via"], &me["csrf_token"]), expected, "{me}");
    assert_eq!(page.ask(&bench, "GET", "/api/v1/tags", "", None).await.0, 200);

    let other = Page::log_in(&bench, "operator").await;
    let ack = Some(r#"{"alarm":"Tank/Alarms/High"}"#);
    for token in ["", "x", other.token.as_str()] {
        let (status, problem) = page.ask(&bench, "POST", "/api/v1/alarms/ack", token, ack).await;
        assert_eq!((status, &problem["code"]), (403, &json!("csrf")), "{problem}");
        assert_eq!(page.ask(&bench, "DELETE", "/api/v1/session", token, None).await.0, 403);
    }
    assert_eq!(*bench.plant.asked.lock().unwrap(), []);
    assert_eq!(page.ask(&bench, "POST", "/api/v1/alarms/ack", &page.token, ack).await.0, 200);
    assert_eq!(page.ask(&bench, "POST", "/api/v1/reload", &page.token, None).await.0, 403, "an operator may not");
    let asked = bench.plant.asked.lock().unwrap()[0].0.clone();
    assert_eq!(asked, "operator as operator");

    let headers = [("cookie", page.cookie.as_str()), ("x-csrf-token", page.token.as_str())];
    let (status, headers, _) = send(&bench, "DELETE", "/api/v1/session", &headers, None).await;
    assert_eq!((status, headers["set-cookie"].to_str().unwrap().contains("annunciator=; Path=/; Max-Age=0")), (204, true));
    assert_eq!(page.ask(&bench, "GET", "/api/v1/session", "", None).await.0, 401);
    assert_eq!(other.ask(&bench, "GET", "/api/v1/session", "", None).await.0, 200, "the other one goes on");
}

#[tokio::test]
async fn who_may_not_log_in_is_told_why() {
    let bench = Bench::new().await;
    for (user, password, expected) in
        [("operator", "wrong", 401), ("nobody", "secret", 401), ("guessed", "secret", 429), ("busy", "secret", 503)]
    {
        let (status, headers, problem) = send(&bench, "POST", "/api/v1/session", &[], Some(&login(user, password))).await;
        assert_eq!((status, &problem["status"]), (expected, &json!(expected)), "{user}");
        assert!(!headers.contains_key("set-cookie"));
        assert_eq!(headers.contains_key("retry-after"), expected != 401);
    }
    let from_page = [("sec-fetch-site", "same-origin")];
    let (_, headers, _) = send(&bench, "GET", "/api/v1/session", &from_page, None).await;
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"annunciator\"", "no dialog of the browser's own");
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(send(&bench, "POST", "/api/v1/session", &foreign, Some(&login("operator", "secret"))).await.0, 403);
    for cookie in ["annunciator=", "annunciator=x", &format!("annunciator={}", "A".repeat(43)), "other=x; annunciator"] {
        assert_eq!(send(&bench, "GET", "/api/v1/session", &[("cookie", cookie)], None).await.0, 401, "{cookie}");
    }
}

#[tokio::test]
async fn a_reload_that_takes_the_user_away_ends_their_session() {
    let bench = Bench::new().await;
    let (operator, viewer) = (Page::log_in(&bench, "operator").await, Page::log_in(&bench, "viewer").await);
    let viewer_def = Arc::new(user_def("viewer", Role::Viewer, "hash"));
    let users = [("viewer".to_owned(), viewer_def)].into();
    bench.plant.plan.send_replace(Arc::new(Plan { users, ..Plan::default() }));
    assert_eq!(operator.ask(&bench, "GET", "/api/v1/session", "", None).await.0, 401);
    assert_eq!(viewer.ask(&bench, "GET", "/api/v1/session", "", None).await.0, 200);
}

#[tokio::test]
async fn programs_learn_who_they_are() {
    let bench = Bench::new().await;
    for (who, user, role, via) in [
        ("engineer", "engineer", "engineer", "basic"),
        ("token scada", "scada", "operator", "token"),
        ("token mes", "mes", "sender", "token"),
    ] {
        let (status, me) = bench.ask("GET", "/api/v1/session", who, None).await;
        assert_eq!((status, &me["user"], &me["role"], &me["via"]), (200, &json!(user), &json!(role), &json!(via)));
        assert_eq!(bench.ask("DELETE", "/api/v1/session", who, None).await.0, 409);
    }
}

#[tokio::test]
async fn a_configured_proxy_speaks_for_others() {
    let bench = Bench::new().await;
    // 127.0.0.2 is the proxy: only this machine itself may have the metrics without a log-in.
    for (from, forwarded, expected) in [
        ("127.0.0.1:1", "", 200),
        ("127.0.0.1:1", "198.51.100.7", 200),
        ("127.0.0.2:1", "198.51.100.7", 401),
        ("127.0.0.2:1", "127.0.0.1, 198.51.100.7", 401),
        ("127.0.0.2:1", "198.51.100.7, 127.0.0.1", 200),
        ("198.51.100.7:1", "127.0.0.1", 401),
    ] {
        let headers: &[_] = if forwarded.is_empty() { &[] } else { &[("x-forwarded-for", forwarded)] };
        let response = bench.raw("GET", "/metrics", headers, None, from).await;
        assert_eq!(response.status().as_u16(), expected, "{from} for {forwarded:?}");
    }
}
