//! Notifiers: one attempt to send, nothing else. Whether and when to try again is the engine's.

#[cfg(feature = "twilio")]
pub mod signature;
#[cfg(feature = "twilio")]
pub mod twilio;
#[cfg(feature = "twilio")]
pub mod twiml;

use crate::{
    BoxFuture,
    engine::io::{Accepted, CallDocument, CallEvent, DeliveryState, InboundText, Lookup, Outgoing, SendFailure},
};

/// How a message fares, with the provider's error code if it failed.
pub type Delivery = (DeliveryState, Option<u32>);

/// A way to send messages.
pub trait Notifier: Send + Sync {
    /// One attempt.
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Accepted, SendFailure>>;
    /// Looks for a message whose fate is unknown: every one in the provider's list to the same number, from the same sender, with
    /// the same body (also after a trial account's prefix; calls have none), created not before the attempt; oldest first.
    fn lookup<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Vec<Accepted>, String>>;
    /// Texts received since `since`, oldest first, for sites that cannot be called back.
    fn received(&self, since: crate::tag::Timestamp) -> BoxFuture<'_, Result<Vec<InboundText>, String>>;
    /// How the message `sid` fares now, with the provider's error code if it failed; for sites that cannot be called back.
    /// `Ok(None)` when the provider does not know it, or says a word that we do not know.
    fn status<'a>(&'a self, sid: &'a str) -> BoxFuture<'a, Result<Option<Delivery>, String>>;
    /// How the call `sid` fares now. `Ok(None)` when the provider does not know it.
    fn call<'a>(&'a self, sid: &'a str) -> BoxFuture<'a, Result<Option<CallEvent>, String>>;
    /// Ends a call: one that waits or rings is cancelled, one in progress hears `last_words`. One that has ended already is no
    /// error.
    fn end_call<'a>(&'a self, sid: &'a str, last_words: &'a CallDocument) -> BoxFuture<'a, Result<(), String>>;
}
