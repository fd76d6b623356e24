//! Reading a webhook and proving that it comes from Twilio.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, header, request::Parts},
};

use super::{MAX_BODY, Reason};
use crate::{
    engine::plan::{Secret, TwilioDef},
    notify::signature::{self, Payload},
};

const SIGNATURE: &str = "x-twilio-signature";

/// The decoded parameters of a webhook.
pub(super) struct Form(pub(super) Vec<(String, String)>);

impl Form {
    /// The first of `keys` that is present.
    pub(super) fn first(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.0.iter().find(|(name, _)| name == key)).map(|(_, value)| value.clone())
    }
}

/// Reads a webhook whose URL does not name its profile: the one of `all` with the form's account that verifies it.
pub(super) async fn of_account<'a>(
    request: Request,
    all: &[&'a Arc<TwilioDef>],
) -> Result<(&'a Arc<TwilioDef>, Parts, Form), Reason> {
    let (parts, form) = read_form(request, all).await?;
    let account = form.first(&["AccountSid"]).ok_or(Reason::Malformed)?;
    let ours = all.iter().filter(|profile| profile.account_sid == account);
    let verdicts = ours.map(|profile| verify(profile, &parts, &form).map(|()| *profile));
    // Two profiles may share an account: one of them that verifies is enough.
    let profile = verdicts.reduce(Result::or).ok_or(Reason::Profile)??;
    Ok((profile, parts, form))
}

/// Reads the body, once it is clear that at least one of `profiles` could verify it.
pub(super) async fn read_form(request: Request, profiles: &[&Arc<TwilioDef>]) -> Result<(Parts, Form), Reason> {
    if profiles.iter().all(|profile| profile.external_url.is_none()) {
        return Err(Reason::OutboundOnly);
    }
    let (parts, body) = request.into_parts();
    if !parts.headers.contains_key(SIGNATURE) {
        return Err(Reason::Unsigned);
    }
    let body = read_body(&parts.headers, body).await?;
    let form = form_urlencoded::parse(&body).into_owned().collect();
    Ok((parts, Form(form)))
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Reason> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > MAX_BODY) {
        return Err(Reason::TooLarge);
    }
    let is_form = text(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded");
    let body = to_bytes(body, MAX_BODY).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if inner.is::<http_body_util::LengthLimitError>() {
                return Reason::TooLarge;
            }
            cause = inner.source();
        }
        Reason::Malformed
    })?;
    if is_form { Ok(body) } else { Err(Reason::Malformed) }
}

pub(super) fn verify(profile: &TwilioDef, parts: &Parts, form: &Form) -> Result<(), Reason> {
    let external = profile.external_url.as_deref().ok_or(Reason::OutboundOnly)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let claimed = parts.headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).ok_or(Reason::Unsigned)?;
    let tokens: Vec<&str> = std::iter::once(&profile.auth_token).chain(&profile.auth_token_2).map(Secret::expose).collect();
    if signature::verify(&tokens, &format!("{external}{path}"), Payload::Form(&form.0), claimed) {
        Ok(())
    } else {
        Err(Reason::Signature)
    }
}
