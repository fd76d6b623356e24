//! How a source driver reads its own keys.

use super::reader::Section;
use crate::engine::plan::{Settings, TagTraits};

/// A driver as the configuration sees it. `config` knows none by name: the list is handed to it.
#[derive(Clone, Copy)]
pub struct Driver {
    /// What stands in `kind`.
    pub kind: &'static str,
    /// An example `[[source]]` with one tag, for the documentation and a test that loads it.
    pub example: &'static str,
    /// Takes the driver's keys out of `[[source]]`; problems go to the section. Keys that nobody takes are reported by the caller.
    pub settings: fn(&mut Section<'_>) -> Option<Settings>,
    /// Takes `address` and the driver's other keys out of `[[tag]]`, for a tag whose common keys are known already.
    pub address: fn(&mut Section<'_>, &TagTraits, &Settings) -> Option<Settings>,
}
