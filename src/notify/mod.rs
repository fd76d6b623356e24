//! Notifiers: one attempt to send, nothing else. Whether and when to try again is the engine's.

#[cfg(feature = "twilio")]
pub mod signature;
#[cfg(feature = "twilio")]
pub mod twilio;

use crate::{
    BoxFuture,
    engine::io::{Accepted, DeliveryState, InboundText, Lookup, Outgoing, SendFailure},
};

/// How a message fares, with the provider's error code if it failed.
pub type Delivery = (DeliveryState, Option<u32>);

/// A way to send messages.
pub trait Notifier: Send + Sync {
    /// One attempt.
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Accepted, SendFailure>>;
    /// Looks for a message whose fate is unknown: every one in the provider's list to the same number, from the same sender, with
    /// the same body (also after a trial account's prefix), created not before the attempt; oldest first.
    fn lookup<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Vec<Accepted>, String>>;
    /// Texts received since `since`, oldest first, for sites that cannot be called back.
    fn received(&self, since: crate::tag::Timestamp) -> BoxFuture<'_, Result<Vec<InboundText>, String>>;
    /// How the message `sid` fares now, with the provider's error code if it failed; for sites that cannot be called back.
    /// `Ok(None)` when the provider does not know it, or says a word that we do not know.
    fn status<'a>(&'a self, sid: &'a str) -> BoxFuture<'a, Result<Option<Delivery>, String>>;
}
