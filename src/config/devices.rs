//! `[[source]]`: what is common to all drivers; the rest is the driver's own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    book::Named,
    driver::Driver,
    problems::did_you_mean,
    reader::Section,
    system::{self, Own},
};
use crate::engine::plan::{OnCommLoss, Settings, SourceDef};

/// The words of `on_comm_loss`, of sources and of tags.
pub(super) const COMM_LOSS: [(&str, OnCommLoss); 2] = [("hold", OnCommLoss::Hold), ("bad", OnCommLoss::Bad)];

/// A source whose tags are being read.
pub(super) struct Device {
    pub name: Arc<str>,
    /// `None` when its kind or its settings are wrong, which was noted.
    pub driver: Option<(Driver, Settings)>,
    /// For tags that do not say otherwise.
    pub on_comm_loss: OnCommLoss,
    /// For tags that do not say otherwise.
    pub stale_after: Option<Duration>,
    fingerprint: AtomicU64,
}

impl Device {
    /// A tag of it was read: a change of that is a change of the source. A sum does not depend on the order of files.
    pub fn has_tag(&self, fingerprint: u64) {
        self.fingerprint.fetch_add(fingerprint, Ordering::Relaxed);
    }
}

/// All `[[source]]`, by name.
pub(super) fn devices(named: Vec<Named<'_>>, drivers: &[Driver]) -> BTreeMap<String, Device> {
    let mut devices = BTreeMap::new();
    for Named { name, mut section } in named {
        let fingerprint = AtomicU64::new(section.fingerprint(&[]));
        let on_comm_loss = section.one_of("on_comm_loss", &COMM_LOSS).unwrap_or_default();
        let stale_after = stale_after(&mut section);
        let driver = driver(&mut section, drivers);
        devices.insert(name.clone(), Device { name: name.into(), driver, on_comm_loss, stale_after, fingerprint });
    }
    devices
}

fn driver(section: &mut Section<'_>, drivers: &[Driver]) -> Option<(Driver, Settings)> {
    let kind = section.required_string("kind");
    let Some(kind) = kind else {
        section.ignore_rest();
        return None;
    };
    let Some(driver) = drivers.iter().find(|driver| driver.kind == kind.value) else {
        let help = did_you_mean(&kind, drivers.iter().map(|driver| driver.kind), "possible are");
        section.error(kind.span, format!("unknown kind of source `{}`", kind.value), help);
        section.ignore_rest();
        return None;
    };
    section.kind(driver.kind);
    let settings = (driver.settings)(section)?;
    Some((*driver, settings))
}

/// `stale_after`, of sources and of tags.
pub(super) fn stale_after(section: &mut Section<'_>) -> Option<Duration> {
    section.duration("stale_after", Duration::from_millis(100)..=Duration::from_secs(86_400))
}

/// The sources of the plan: those whose settings are good.
pub(super) fn sources(devices: BTreeMap<String, Device>, own: &mut Own<'_>) -> Vec<Arc<SourceDef>> {
    let sources = devices.into_iter().filter_map(|(name, device)| {
        let (driver, settings) = device.driver?;
        let nodes = system::source_nodes(own, &name);
        let fingerprint = device.fingerprint.into_inner();
        Some(Arc::new(SourceDef { name: name.into(), kind: driver.kind, settings, fingerprint, nodes }))
    });
    sources.collect()
}
