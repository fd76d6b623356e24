//! The program with real peers on loopback: one binary for all of them.

mod calls;
mod events;
mod heartbeat;
mod kills;
mod kills_calls;
mod modbus;
mod opcua_alarms;
mod opcua_attacks;
mod opcua_client;
mod opcua_events;
mod opcua_fuzz;
mod opcua_hostile;
mod opcua_security;
mod opcua_server;
mod opcua_services;
mod opcua_space;
mod phone;
mod program;
mod scripts;
mod shipped;
mod simulator;
mod stories;
mod support;
mod twilio;
mod twilio_calls;
mod webhooks;
