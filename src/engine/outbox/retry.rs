//! A message that failed, once more because a person says so.

use super::{Purpose, Text, TextState};
use crate::{
    engine::{
        Engine,
        io::{Actor, DeliveryState, OutboxId, Outcome},
    },
    tag::StatusCode,
};

impl Engine {
    /// Files a failed text or call again, as a row of its own: it names the same events and is looked at before its attempt like
    /// any other, so that nothing is told of what needs no telling any more.
    pub(in crate::engine) fn retry(&mut self, id: OutboxId, by: &Actor) -> Result<String, Outcome> {
        let unknown = || Outcome::refused(StatusCode::BAD_NOT_FOUND, format!("there is no message {} in the outbox", id.0));
        let text = self.outbox.text(id).ok_or_else(unknown)?;
        if !failed(&text.state) {
            let words = "only what failed or was not delivered is sent once more";
            return Err(Outcome::refused(StatusCode::BAD_INVALID_STATE, words));
        }
        // An answer is worded at its first attempt, from what was true then: this one keeps its words.
        let purpose = if matches!(text.purpose, Purpose::Answer(_)) { Purpose::Manual } else { text.purpose.clone() };
        let again = Text {
            body: text.body.clone(),
            detail: format!("sent once more for {}", by.name),
            audit: text.audit,
            ..Text::new(&text.twilio, text.channel, &text.to, text.user.clone(), purpose, self.now)
        };
        let waits = |other: &Text| other.state.is_open() && other.to == again.to && other.purpose == again.purpose;
        if self.outbox.open_texts().filter_map(|open| self.outbox.text(open)).any(waits) {
            let words = "the same message waits to be sent already";
            return Err(Outcome::refused(StatusCode::BAD_INVALID_STATE, words));
        }
        let row = self.enqueue(again);
        Ok(format!("message {} waits to be sent", row.0))
    }
}

const fn failed(state: &TextState) -> bool {
    match state {
        TextState::Failed { .. } => true,
        TextState::Accepted { status, .. } => {
            matches!(status, DeliveryState::Undelivered | DeliveryState::Failed | DeliveryState::Canceled)
        }
        TextState::Queued | TextState::Sending(_) | TextState::Ambiguous { .. } | TextState::Cancelled { .. } => false,
    }
}
