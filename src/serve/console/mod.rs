//! The operator console: pages for a browser, served from the binary.
//!
//! What is served are files only: one shell for every page, style sheets, and plain ES modules that ask the HTTP API like any other
//! program. There is no build step: a module is read as it stands here; `vendor/` holds Preact and HTM as npm has them. The files' common
//! digest is part of their address, so that a browser keeps them for good and never mixes two versions. Deliberately absent: data,
//! sessions and roles (the API has them), templates (the pages are made in the browser, from text nodes only).

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

/// The addresses that the shell answers; its modules show the page that belongs to each.
const PAGES: [&str; 9] = ["/", "/login", "/tags", "/on-call", "/messages", "/statistics", "/sources", "/audit", "/what-if"];
/// A version's files never change.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SHELL: &str = include_str!("shell.html");

/// One file: its name below `/console/<version>/`, its media type, its text.
type File = (&'static str, &'static str, &'static str);

macro_rules! files {
    ($($kind:ident $name:literal)*) => { &[$(($name, $kind, include_str!($name))),*] };
}

const FILES: &[File] = files! {
    SVG "icon.svg"
    CSS "style/base.css"
    CSS "style/alarms.css"
    CSS "style/pages.css"
    JAVASCRIPT "theme.js"
    JAVASCRIPT "main.js"
    JAVASCRIPT "lib/api.js"
    JAVASCRIPT "lib/alarm.js"
    JAVASCRIPT "lib/announce.js"
    JAVASCRIPT "lib/format.js"
    JAVASCRIPT "lib/keys.js"
    JAVASCRIPT "lib/live.js"
    JAVASCRIPT "lib/prefs.js"
    JAVASCRIPT "lib/resource.js"
    JAVASCRIPT "lib/route.js"
    JAVASCRIPT "lib/session.js"
    JAVASCRIPT "lib/store.js"
    JAVASCRIPT "lib/ui.js"
    JAVASCRIPT "pages/alarm-acts.js"
    JAVASCRIPT "pages/alarms.js"
    JAVASCRIPT "pages/audit.js"
    JAVASCRIPT "pages/login.js"
    JAVASCRIPT "pages/messages.js"
    JAVASCRIPT "pages/on-call.js"
    JAVASCRIPT "pages/shell.js"
    JAVASCRIPT "pages/sources.js"
    JAVASCRIPT "pages/statistics.js"
    JAVASCRIPT "pages/story.js"
    JAVASCRIPT "pages/tags.js"
    JAVASCRIPT "pages/what-if.js"
    JAVASCRIPT "vendor/hooks.mjs"
    JAVASCRIPT "vendor/htm.mjs"
    JAVASCRIPT "vendor/preact.mjs"
};

/// The shell with the version in its addresses, and the policy that lets nothing but these files run.
struct Console {
    version: String,
    shell: String,
    policy: String,
}

static CONSOLE: LazyLock<Console> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (name, _, text) in FILES.iter().copied().chain([("shell.html", "", SHELL)]) {
        digest.update(name);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    let version = digest.finalize()[..8].iter().fold(String::new(), |mut version, byte| {
        // Writing to a String cannot fail.
        _ = write!(version, "{byte:02x}");
        version
    });
    let shell = SHELL.replace("{version}", &version);
    let policy = policy(&shell);
    Console { version, shell, policy }
});

/// Only our own files, no inline script or style but the import map (by its digest), and no text that becomes markup.
fn policy(shell: &str) -> String {
    let import_map = shell.split_once("<script type=\"importmap\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let digest = BASE64_STANDARD.encode(Sha256::digest(import_map.map_or("", |(map, _)| map)));
    format!(
        "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// The console's pages and files.
pub fn router() -> Router {
    let router = Router::new().route("/console/{version}/{*name}", get(file));
    PAGES.iter().fold(router, |router, page| router.route(page, get(shell)))
}

async fn shell() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    with_policy((headers, CONSOLE.shell.as_str()).into_response())
}

async fn file(Path((version, name)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|(known, ..)| version == CONSOLE.version && *known == name);
    let Some((_, kind, text)) = found else {
        let headers = [(header::CACHE_CONTROL, "no-store")];
        return with_policy((StatusCode::NOT_FOUND, headers, "this version of the console has no such file\n").into_response());
    };
    with_policy(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, FOR_GOOD)], *text).into_response())
}

fn with_policy(response: Response) -> Response {
    const COMMON: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ];
    ([(header::CONTENT_SECURITY_POLICY, CONSOLE.policy.as_str())], COMMON, response).into_response()
}
