//! The program with real peers on loopback: one binary for all of them.

mod opcua_client;
mod support;
mod twilio;
mod webhooks;
