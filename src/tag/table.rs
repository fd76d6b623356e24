//! The tag table: the present value of every tag, dense, written in batches, read without waiting.
//!
//! A tag is one 32-byte cell whose sequence lock is also its version: even when at rest, odd while written, and one step of
//! two for each change. Readers look at the sequence before and after and try again when it moved; they never block a
//! writer. Writers take turns among themselves. Every block of [`BLOCK`] tags has a change counter too, so that whoever
//! looks for what changed (an OPC UA subscription) skips the blocks that stand still. Texts, arrays and structures lie beside
//! the cells, behind an atomically exchanged pointer.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering, fence},
};

use arc_swap::ArcSwapOption;

use super::{
    DataType, StatusCode, TagId, Timestamp, Value,
    tap::{Tap, Taps},
};

/// Tags to a block, the unit of the change counters.
pub const BLOCK: usize = 64;
const SEGMENT: usize = 4096;
const SEGMENTS: usize = 1024;

/// The greatest number of tags: 4,194,304.
pub const MAX_TAGS: usize = SEGMENT * SEGMENTS;

/// A value that a tag takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whose.
    pub tag: TagId,
    /// `Null` when `status` is Bad.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
    /// The source's own time of the value or status; [`Timestamp::NULL`] when it gave none.
    pub source_time: Timestamp,
}

/// A value as it stands in the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// `Null` when `status` is Bad.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
    /// The source's own time.
    pub source_time: Timestamp,
    /// Grows with every change of value, status or source time; never zero for a tag that was ever written.
    pub version: u64,
}

/// A value of fixed size as it stands in the table, so that it can be sent without being made a [`Value`] first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Its type: none of those without a fixed size.
    pub data_type: DataType,
    /// Its bytes, the least first, from the low end.
    pub bits: u64,
    /// Quality.
    pub status: StatusCode,
    /// The source's own time.
    pub source_time: Timestamp,
    /// See [`Reading::version`].
    pub version: u64,
}

impl Scalar {
    /// How many bytes of `bits` are the value.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self.data_type {
            DataType::Boolean | DataType::SByte | DataType::Byte => 1,
            DataType::Int16 | DataType::UInt16 => 2,
            DataType::Int32 | DataType::UInt32 | DataType::Float => 4,
            _ => 8,
        }
    }
}

#[derive(Default)]
struct Cell {
    sequence: AtomicU64,
    bits: AtomicU64,
    /// Low half: status; high half: what `bits` holds.
    status_and_kind: AtomicU64,
    source_time: AtomicU64,
}

struct Segment {
    cells: Box<[Cell]>,
    changes: Box<[AtomicU64]>,
    heap: OnceLock<Box<[ArcSwapOption<Value>]>>,
}

/// The table. Cells exist for all [`MAX_TAGS`] ids, their memory from the first write on; a tag that was never written reads
/// as `BadWaitingForInitialData`.
pub struct TagTable {
    segments: Box<[OnceLock<Box<Segment>>]>,
    writer: Mutex<Taps>,
}

impl Default for TagTable {
    fn default() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect(), writer: Mutex::default() }
    }
}

impl TagTable {
    /// Writes a batch in order. A sample that equals what stands there (value, status and source time) changes nothing and
    /// moves no version. Returns how many changed.
    ///
    /// # Panics
    /// When a tag's id is not below [`MAX_TAGS`].
    pub fn write(&self, samples: &[Sample]) -> usize {
        let mut taps = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().filter(|sample| self.write_one(sample, &mut taps)).count()
    }

    /// Keeps every value that `tags` take from now on, up to `room` values, for as long as the tap has an owner.
    #[must_use]
    pub fn tap(&self, tags: impl IntoIterator<Item = TagId>, room: usize) -> Arc<Tap> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).open(tags, room)
    }

    /// The present value of `tag`.
    #[must_use]
    pub fn read(&self, tag: TagId) -> Reading {
        let Some(segment) = self.segment(tag) else { return unwritten() };
        let cell = &segment.cells[tag.index() % SEGMENT];
        loop {
            let before = cell.sequence.load(Ordering::Acquire);
            if before == 0 {
                return unwritten();
            }
            if before % 2 == 0 {
                let bits = cell.bits.load(Ordering::Relaxed);
                let status_and_kind = cell.status_and_kind.load(Ordering::Relaxed);
                let source_time = cell.source_time.load(Ordering::Relaxed);
                #[allow(clippy::cast_possible_truncation)] // Eight bits stand there.
                let kind = (status_and_kind >> 32) as u8;
                let on_heap = if kind == HEAP { segment.heap_value(tag) } else { None };
                fence(Ordering::Acquire);
                if cell.sequence.load(Ordering::Relaxed) == before {
                    let value = if kind == HEAP { on_heap.unwrap_or_default() } else { unpack(kind, bits) };
                    #[allow(clippy::cast_possible_truncation)]
                    let status = StatusCode(status_and_kind as u32);
                    let source_time = Timestamp::from_ticks(source_time.cast_signed());
                    return Reading { value, status, source_time, version: before };
                }
            }
            std::hint::spin_loop();
        }
    }

    /// The present value of `tag` when it is a scalar of fixed size; `None` for any other, for one that was never written, and
    /// while it is being written: [`Self::read`] has an answer for all of these.
    #[must_use]
    #[inline]
    pub fn scalar(&self, tag: TagId) -> Option<Scalar> {
        let cell = &self.segment(tag)?.cells[tag.index() % SEGMENT];
        let version = cell.sequence.load(Ordering::Acquire);
        let bits = cell.bits.load(Ordering::Relaxed);
        let status_and_kind = cell.status_and_kind.load(Ordering::Relaxed);
        let source_time = cell.source_time.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if version % 2 != 0 || version == 0 || cell.sequence.load(Ordering::Relaxed) != version {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // Eight bits stand there.
        let data_type = FIXED.get(usize::from((status_and_kind >> 32) as u8)).copied().flatten()?;
        #[allow(clippy::cast_possible_truncation)]
        let status = StatusCode(status_and_kind as u32);
        Some(Scalar { data_type, bits, status, source_time: Timestamp::from_ticks(source_time.cast_signed()), version })
    }

    /// The version of `tag`: zero before its first write.
    #[must_use]
    pub fn version(&self, tag: TagId) -> u64 {
        self.segment(tag).map_or(0, |segment| segment.cells[tag.index() % SEGMENT].sequence.load(Ordering::Acquire))
    }

    /// The change counter of the block of [`BLOCK`] tags that `tag` lies in. Whoever scans for changes reads this first and the
    /// versions after it: what is written in between is found by the next scan.
    #[must_use]
    pub fn block_version(&self, tag: TagId) -> u64 {
        self.segment(tag).map_or(0, |segment| segment.changes[tag.index() % SEGMENT / BLOCK].load(Ordering::Acquire))
    }

    /// How many taps are open.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn write_one(&self, sample: &Sample, taps: &mut Taps) -> bool {
        let index = sample.tag.index();
        assert!(index < MAX_TAGS, "tag id {index} is beyond the table");
        let segment = self.segments[index / SEGMENT].get_or_init(Segment::new);
        let cell = &segment.cells[index % SEGMENT];
        let packed = pack(&sample.value);
        let (kind, bits) = packed.unwrap_or((HEAP, 0));
        let status_and_kind = u64::from(sample.status.0) | u64::from(kind) << 32;
        let source_time = sample.source_time.ticks().cast_unsigned();
        let sequence = cell.sequence.load(Ordering::Relaxed);
        let same = sequence != 0
            && cell.status_and_kind.load(Ordering::Relaxed) == status_and_kind
            && cell.source_time.load(Ordering::Relaxed) == source_time
            && cell.bits.load(Ordering::Relaxed) == bits
            && (kind != HEAP || segment.heap_value(sample.tag).as_ref() == Some(&sample.value));
        if same {
            return false;
        }
        cell.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        if kind == HEAP {
            segment.heap()[index % SEGMENT].store(Some(Arc::new(sample.value.clone())));
        }
        cell.bits.store(bits, Ordering::Relaxed);
        cell.status_and_kind.store(status_and_kind, Ordering::Relaxed);
        cell.source_time.store(source_time, Ordering::Relaxed);
        cell.sequence.store(sequence + 2, Ordering::Release);
        segment.changes[index % SEGMENT / BLOCK].fetch_add(1, Ordering::Release);
        taps.push(sample.tag, || Reading {
            value: sample.value.clone(),
            status: sample.status,
            source_time: sample.source_time,
            version: sequence + 2,
        });
        true
    }

    #[inline]
    fn segment(&self, tag: TagId) -> Option<&Segment> {
        self.segments.get(tag.index() / SEGMENT)?.get().map(|segment| &**segment)
    }
}

impl Segment {
    #[allow(clippy::unnecessary_box_returns)] // The table holds boxes, so that one without segments is small.
    fn new() -> Box<Self> {
        Box::new(Self {
            cells: (0..SEGMENT).map(|_| Cell::default()).collect(),
            changes: (0..SEGMENT / BLOCK).map(|_| AtomicU64::new(0)).collect(),
            heap: OnceLock::new(),
        })
    }

    fn heap(&self) -> &[ArcSwapOption<Value>] {
        self.heap.get_or_init(|| (0..SEGMENT).map(|_| ArcSwapOption::empty()).collect())
    }

    fn heap_value(&self, tag: TagId) -> Option<Value> {
        self.heap.get()?[tag.index() % SEGMENT].load().as_deref().cloned()
    }
}

/// Types of fixed size, by their number in a cell.
const FIXED: [Option<DataType>; 16] = {
    let mut fixed = [None; 16];
    let types = [
        DataType::Boolean,
        DataType::SByte,
        DataType::Byte,
        DataType::Int16,
        DataType::UInt16,
        DataType::Int32,
        DataType::UInt32,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float,
        DataType::Double,
        DataType::DateTime,
    ];
    let mut place = 0;
    while place < types.len() {
        fixed[types[place] as usize] = Some(types[place]);
        place += 1;
    }
    fixed
};
const HEAP: u8 = u8::MAX;
const NULL: u8 = u8::MAX - 1;

fn unwritten() -> Reading {
    Reading { status: StatusCode::BAD_WAITING_FOR_INITIAL_DATA, ..Reading::default() }
}

/// The kind and bits of a value that fits a cell; `None` for one that does not.
pub(crate) fn pack(value: &Value) -> Option<(u8, u64)> {
    Some(match value {
        Value::Null => (NULL, 0),
        Value::Boolean(value) => (DataType::Boolean as u8, u64::from(*value)),
        Value::SByte(value) => (DataType::SByte as u8, i64::from(*value).cast_unsigned()),
        Value::Byte(value) => (DataType::Byte as u8, u64::from(*value)),
        Value::Int16(value) => (DataType::Int16 as u8, i64::from(*value).cast_unsigned()),
        Value::UInt16(value) => (DataType::UInt16 as u8, u64::from(*value)),
        Value::Int32(value) => (DataType::Int32 as u8, i64::from(*value).cast_unsigned()),
        Value::UInt32(value) => (DataType::UInt32 as u8, u64::from(*value)),
        Value::Int64(value) => (DataType::Int64 as u8, value.cast_unsigned()),
        Value::UInt64(value) => (DataType::UInt64 as u8, *value),
        Value::Float(value) => (DataType::Float as u8, u64::from(value.to_bits())),
        Value::Double(value) => (DataType::Double as u8, value.to_bits()),
        Value::DateTime(time) => (DataType::DateTime as u8, time.ticks().cast_unsigned()),
        Value::String(_) | Value::ByteString(_) | Value::Structure(_) | Value::Array(..) => return None,
    })
}

/// The value of a kind and bits that [`pack`] gave; `Null` for any other kind.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn unpack(kind: u8, bits: u64) -> Value {
    const BOOLEAN: u8 = DataType::Boolean as u8;
    const SBYTE: u8 = DataType::SByte as u8;
    const BYTE: u8 = DataType::Byte as u8;
    const INT16: u8 = DataType::Int16 as u8;
    const UINT16: u8 = DataType::UInt16 as u8;
    const INT32: u8 = DataType::Int32 as u8;
    const UINT32: u8 = DataType::UInt32 as u8;
    const INT64: u8 = DataType::Int64 as u8;
    const UINT64: u8 = DataType::UInt64 as u8;
    const FLOAT: u8 = DataType::Float as u8;
    const DOUBLE: u8 = DataType::Double as u8;
    const DATE_TIME: u8 = DataType::DateTime as u8;
    match kind {
        BOOLEAN => Value::Boolean(bits != 0),
        SBYTE => Value::SByte(bits as i8),
        BYTE => Value::Byte(bits as u8),
        INT16 => Value::Int16(bits as i16),
        UINT16 => Value::UInt16(bits as u16),
        INT32 => Value::Int32(bits as i32),
        UINT32 => Value::UInt32(bits as u32),
        INT64 => Value::Int64(bits.cast_signed()),
        UINT64 => Value::UInt64(bits),
        FLOAT => Value::Float(f32::from_bits(bits as u32)),
        DOUBLE => Value::Double(f64::from_bits(bits)),
        DATE_TIME => Value::DateTime(Timestamp::from_ticks(bits.cast_signed())),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn sample(tag: u32, value: Value, ticks: i64) -> Sample {
        Sample { tag: TagId(tag), value, status: StatusCode::GOOD, source_time: Timestamp::from_ticks(ticks) }
    }

    #[test]
    fn every_kind_of_value_comes_back() {
        let table = TagTable::default();
        let values = [
            Value::Boolean(true),
            Value::SByte(-3),
            Value::Byte(200),
            Value::Int16(-300),
            Value::UInt16(60_000),
            Value::Int32(-70_000),
            Value::UInt32(4_000_000_000),
            Value::Int64(i64::MIN),
            Value::UInt64(u64::MAX),
            Value::Float(-1.5),
            Value::Double(f64::MIN_POSITIVE),
            Value::DateTime(Timestamp::from_ticks(7)),
            Value::Null,
            Value::string("text"),
            Value::Array(DataType::Int16, [Value::Int16(1)].into()),
        ];
        for (index, value) in values.iter().enumerate() {
            let tag = u32::try_from(index * 5000).unwrap();
            assert_eq!(table.write(&[sample(tag, value.clone(), 1)]), 1);
            assert_eq!(table.read(TagId(tag)).value, *value);
            let scalar = table.scalar(TagId(tag));
            assert_eq!(scalar.map(|scalar| unpack(scalar.data_type as u8, scalar.bits)).as_ref(), scalar.map(|_| value));
            assert_eq!(scalar.is_some(), index < 12, "{value:?}");
        }
        assert_eq!(table.read(TagId(1)).status, StatusCode::BAD_WAITING_FOR_INITIAL_DATA);
        assert_eq!((table.scalar(TagId(1)), table.scalar(TagId(4_000_000))), (None, None));
    }

    #[test]
    fn versions_move_with_changes_only() {
        let table = TagTable::default();
        let text = sample(3, Value::string("a"), 1);
        assert_eq!((table.version(TagId(3)), table.block_version(TagId(3))), (0, 0));
        assert_eq!(table.write(&[text.clone(), text.clone()]), 1);
        let first = table.read(TagId(3)).version;
        let status_only = Sample { status: StatusCode::UNCERTAIN, ..text.clone() };
        assert_eq!(table.write(&[status_only]), 1);
        assert!(table.version(TagId(3)) > first);
        assert_eq!(table.block_version(TagId(3)), 2);
        assert_eq!(table.block_version(TagId(64)), 0);
    }

    #[test]
    fn readers_never_see_half_a_write() {
        let table = Arc::new(TagTable::default());
        let stop = Arc::new(AtomicBool::new(false));
        table.write(&[sample(0, Value::Int64(0), 0)]);
        let reader = std::thread::spawn({
            let (table, stop) = (Arc::clone(&table), Arc::clone(&stop));
            move || {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let reading = table.read(TagId(0));
                    assert_eq!(reading.value, Value::Int64(reading.source_time.ticks()));
                    assert!(reading.version >= last);
                    last = reading.version;
                }
            }
        });
        for step in 1..200_000 {
            table.write(&[sample(0, Value::Int64(step), step)]);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    }
}
