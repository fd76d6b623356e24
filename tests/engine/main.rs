//! Scenarios and simulation of the pure engine; needs no feature.

mod burst;
mod config;
mod flood;
mod reasons;
mod scenario;
mod simulation;
