//! Texts through Twilio.
