//! Events of the OPC UA server against asyncua: subscriptions with where clauses, audit events, refused filters.

use std::{path::Path, process::Command, time::Duration};

use annunciator::engine::plan::Role;

use crate::{
    opcua_server::Site,
    support::{peers, process::Child},
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(60);

fn client(site: &Site, python: &Path, scenario: &str) -> Child {
    Child::start(Command::new(python).arg(peers::script("opcua_events.py")).args([&*site.url, scenario]))
}

fn check(site: &Site, python: &Path, scenario: &str) {
    let mut client = client(site, python, scenario);
    client.line("passed", BOUND);
    assert_eq!(client.exit_code(BOUND), Some(0), "{scenario}");
}

#[test]
fn writes_are_told_to_engineers_through_where_clauses() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|settings| settings.anonymous = Some(Role::Engineer));
    check(&site, &python, "audit");
    check(&site, &python, "generated");
    check(&site, &python, "sessions");
}

#[test]
fn what_others_do_is_not_told_to_viewers() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let mut viewer = client(&site, &python, "viewer");
    viewer.line("subscribed", BOUND);
    // Refused, which is told too, but not to this one.
    check(&site, &python, "refused");
    viewer.say("go");
    viewer.line("passed", BOUND);
}

#[test]
fn filters_that_are_wrong_are_refused_with_reasons() {
    let Some(python) = peers::python() else { return };
    check(&Site::start(|_| ()), &python, "refused");
}
