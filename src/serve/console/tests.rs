use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::engine::record::NotSent;

async fn get(path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
    let router: Router = router();
    let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Every path of this console that a text names.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with("/console/")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_page_is_the_shell_and_what_it_names_is_there() {
    for page in PAGES {
        let (status, headers, shell) = get(page).await;
        assert_eq!((status, &headers[header::CACHE_CONTROL]), (StatusCode::OK, &"no-store".parse().unwrap()), "{page}");
        let names = named(&shell);
        assert!(names.len() > 8, "{names:?}");
        for name in names {
            let (status, headers, _) = get(&name).await;
            assert_eq!(status, StatusCode::OK, "{name}");
            assert_eq!(headers[header::CACHE_CONTROL], FOR_GOOD, "{name}");
        }
    }
}

#[tokio::test]
async fn modules_import_only_what_is_served() {
    for (name, ..) in FILES.iter().filter(|(name, kind, _)| *kind == JAVASCRIPT && !name.starts_with("vendor/")) {
        let (status, headers, text) = get(&format!("/console/{}/{name}", CONSOLE.version)).await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &JAVASCRIPT.parse().unwrap()), "{name}");
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for import in text.lines().filter_map(|line| line.split_once(" from '")?.1.split_once('\'')) {
            let import = import.0;
            let known = match import {
                "preact" | "preact/hooks" | "htm" => true,
                _ => {
                    let path = import.strip_prefix("./").map_or_else(
                        || import.trim_start_matches("../").to_owned(),
                        |beside| if folder.is_empty() { beside.to_owned() } else { format!("{folder}/{beside}") },
                    );
                    FILES.iter().any(|(known, ..)| *known == path)
                }
            };
            assert!(known, "{name} imports {import}");
        }
    }
}

#[test]
fn every_reason_can_be_chosen() {
    let page = |name: &str| FILES.iter().find(|(known, ..)| *known == name).unwrap().2;
    for reason in NotSent::ALL {
        let word = serde_json::to_value(reason).unwrap();
        assert!(page("pages/messages.js").contains(&format!("'{}'", word.as_str().unwrap())), "{reason:?}");
    }
}

#[tokio::test]
async fn no_file_of_another_version() {
    let (status, headers, _) = get("/console/0123456789abcdef/main.js").await;
    assert_eq!((status, &headers[header::CACHE_CONTROL]), (StatusCode::NOT_FOUND, &"no-store".parse().unwrap()));
    assert_eq!(get(&format!("/console/{}/mod.rs", CONSOLE.version)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&format!("/console/{}/../shell.html", CONSOLE.version)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_inline_runs_but_the_import_map() {
    let (_, headers, shell) = get("/").await;
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self' 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let handler = shell.split_whitespace().any(|word| word.starts_with("on") && word.contains('='));
    assert!(!shell.contains("{version}") && !shell.contains("style=") && !handler, "{shell}");
    for (name, _, text) in FILES.iter().filter(|(name, ..)| !name.starts_with("vendor/")) {
        for forbidden in ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
    }
}
