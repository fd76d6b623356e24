//! Texts from users, and what became of ours.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Hooks, Reason,
    verify::{of_account, read_form, verify},
};
use crate::engine::{
    io::{DeliveryState, InboundText, OutboxId},
    plan::TwilioDef,
};

/// A text from a user.
pub(super) async fn inbound(State(hooks): State<Hooks>, Path(profile): Path<String>, request: Request) -> Response {
    match hooks.text(&profile, request).await {
        Ok(()) => ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], "<Response/>").into_response(),
        Err(reason) => hooks.reject(reason),
    }
}

/// A delivery report.
pub(super) async fn status(State(hooks): State<Hooks>, Path(row): Path<String>, request: Request) -> Response {
    match hooks.report(&row, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => hooks.reject(reason),
    }
}

impl Hooks {
    async fn text(&self, profile: &str, request: Request) -> Result<(), Reason> {
        let plan = self.gateway.plan();
        let profile = plan.twilio.get(profile).ok_or(Reason::Profile)?;
        let (parts, form) = read_form(request, &[profile]).await?;
        verify(profile, &parts, &form)?;
        let text = InboundText {
            twilio: profile.name.clone(),
            sid: form.first(&["MessageSid", "SmsSid"]).ok_or(Reason::Malformed)?,
            from: form.first(&["From"]).ok_or(Reason::Malformed)?,
            to: form.first(&["To"]).unwrap_or_default(),
            body: form.first(&["Body"]).ok_or(Reason::Malformed)?,
            received: None,
        };
        self.commit(self.gateway.inbound(text)).await
    }

    async fn report(&self, row: &str, request: Request) -> Result<(), Reason> {
        let plan = self.gateway.plan();
        let row = row.parse().map(OutboxId).map_err(|_| Reason::Route)?;
        let all: Vec<&Arc<TwilioDef>> = plan.twilio.values().collect();
        let (profile, _, form) = of_account(request, &all).await?;
        let sid = form.first(&["MessageSid", "SmsSid"]).ok_or(Reason::Malformed)?;
        let word = form.first(&["MessageStatus", "SmsStatus"]).ok_or(Reason::Malformed)?;
        let Some(state) = DeliveryState::parse(&word) else { return Ok(()) };
        let code = form.first(&["ErrorCode"]).and_then(|code| code.parse().ok());
        self.commit(self.gateway.delivery(Some(row), sid, state, code)).await?;
        self.copies.send(profile, form.0);
        Ok(())
    }
}
