//! Every reading method of `ua::wire` on the same bytes: none may panic, recurse without end or allocate what a length promises.

#![no_main]

use annunciator::ua::wire::{Incoming, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let mut reader = Reader::new(rest);
    // As a peer's message is read: one thing after another, until something is malformed.
    let mut kind = usize::from(*first);
    while read(&mut reader, kind % 12).is_some() {
        kind = kind / 12 + 7;
    }
});

fn read(reader: &mut Reader<'_>, kind: usize) -> Option<()> {
    match kind {
        0 => drop(reader.id().ok()?),
        1 => drop(reader.expanded_id().ok()?),
        2 => drop(reader.qualified_name().ok()?),
        3 => drop(reader.localized_text().ok()?),
        4 => drop(reader.extension().ok()?),
        5 | 6 => again(&reader.variant().ok()?),
        7 | 8 => again(&reader.data_value().ok()?.0),
        9 => drop(reader.count(1).ok()?),
        10 => drop(reader.time().ok()?),
        _ => drop(reader.text().ok()?),
    }
    Some(())
}

/// What could be read can be written, and is read as the same.
fn again(value: &Incoming) {
    let Incoming::Value(value) = value else { return };
    let mut writer = Writer::default();
    writer.variant(value);
    let mut reader = Reader::new(&writer.0);
    let Ok(Incoming::Value(read)) = reader.variant() else { panic!("{value:?} cannot be read again") };
    // NaN is not itself.
    assert_eq!(format!("{read:?}"), format!("{value:?}"));
}
