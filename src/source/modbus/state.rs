//! What a source knows of its device between two requests: which blocks are due, which units are down, the last values.
//!
//! Pure: time comes in as an argument.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_modbus::ExceptionCode;

use super::{
    address::{Point, Table},
    decode::{self, Payload},
    plan::{self, Block, Limits},
};
use crate::{
    engine::plan::OnCommLoss,
    source::SourceTag,
    tag::{Sample, StatusCode, TagId, Timestamp, Value},
};

/// A refused block is asked again no sooner than this.
const REFUSED_POLL: Duration = Duration::from_secs(10);
/// Answers "busy" in a row after which the last value is no longer passed off as fresh.
const BUSY_TRIES: u32 = 3;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// All that is remembered of one device or gateway.
pub struct State {
    tags: Arc<[SourceTag]>,
    points: Vec<Point>,
    /// Position of each point's tag in `tags`.
    owner: Vec<u32>,
    index: HashMap<TagId, u32>,
    last: Vec<Value>,
    blocks: Vec<Scheduled>,
    units: BTreeMap<u8, Unit>,
}

/// A block and when it is read next.
struct Scheduled {
    block: Block,
    due: Instant,
    busy: u32,
}

/// One unit behind the connection.
#[derive(Default)]
struct Unit {
    /// Set while it does not answer: when it is asked again, and for how long it was left alone.
    down: Option<(Instant, Duration)>,
    /// Requests in a row without an answer.
    silent: u32,
}

impl State {
    /// Plans the reads of `tags`.
    pub fn new(tags: Arc<[SourceTag]>, limits: Limits) -> Self {
        let mut points = Vec::with_capacity(tags.len());
        let mut owner = Vec::with_capacity(tags.len());
        for (position, tag) in (0..).zip(tags.iter()) {
            if let Some(point) = tag.address.downcast_ref::<Point>() {
                points.push(*point);
                owner.push(position);
            }
        }
        let index = (0..).zip(&owner).map(|(at, position): (u32, &u32)| (tags[*position as usize].id, at)).collect();
        let now = Instant::now();
        let blocks = plan::plan(&points, limits).into_iter().map(|block| Scheduled { block, due: now, busy: 0 }).collect();
        let units = points.iter().map(|point| (point.unit, Unit::default())).collect();
        Self { last: vec![Value::Null; points.len()], tags, points, owner, index, blocks, units }
    }

    /// True when this was made for these tags.
    pub fn is_for(&self, tags: &Arc<[SourceTag]>) -> bool {
        Arc::ptr_eq(&self.tags, tags)
    }

    /// A new session begins: everything is due, nobody is known to be down.
    pub fn begin(&mut self, now: Instant) {
        for scheduled in &mut self.blocks {
            scheduled.due = now;
            scheduled.busy = 0;
        }
        self.units.values_mut().for_each(|unit| *unit = Unit::default());
    }

    /// The definition and place of `tag`.
    pub fn find(&self, tag: TagId) -> Option<(&SourceTag, &Point)> {
        self.index.get(&tag).map(|at| self.tag(*at))
    }

    /// The block that is due first, and when.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let due = |scheduled: &Scheduled| {
            let down = self.units.get(&scheduled.block.unit).and_then(|unit| unit.down);
            down.map_or(scheduled.due, |(until, _)| scheduled.due.max(until))
        };
        self.blocks.iter().enumerate().map(|(at, scheduled)| (at, due(scheduled))).min_by_key(|(_, due)| *due)
    }

    /// The block at `at`.
    pub fn block(&self, at: usize) -> &Block {
        &self.blocks[at].block
    }

    /// The block was read: samples of its tags.
    pub fn read(&mut self, at: usize, payload: Payload<'_>, now: Instant, time: Timestamp) -> Vec<Sample> {
        self.again(at, now, Duration::ZERO);
        self.blocks[at].busy = 0;
        let block = &self.blocks[at].block;
        let samples = decode::samples(block, |index| self.tag(index), payload, time);
        for (index, sample) in block.tags.iter().zip(&samples) {
            if sample.status.is_good() {
                self.last[*index as usize].clone_from(&sample.value);
            }
        }
        samples
    }

    /// The block was refused: samples of the tags that are now known to be bad. Mapping: reference table of exceptions in
    /// Application Protocol V1.1b3, 7.
    pub fn refused(&mut self, at: usize, exception: ExceptionCode, now: Instant, time: Timestamp) -> Vec<Sample> {
        let code = u8::from(exception);
        match code {
            // Illegal address, or more than the device answers at once: find out which tag it is.
            2 | 3 => {
                if let Some((low, high)) = self.blocks[at].block.split(&self.points) {
                    self.blocks[at] = Scheduled { block: low, due: now, busy: 0 };
                    self.blocks.push(Scheduled { block: high, due: now, busy: 0 });
                    return Vec::new();
                }
                self.again(at, now, REFUSED_POLL);
                self.block_status(at, StatusCode::BAD_CONFIGURATION_ERROR, time)
            }
            1 => {
                self.again(at, now, REFUSED_POLL);
                self.block_status(at, StatusCode::BAD_CONFIGURATION_ERROR, time)
            }
            // A long job was begun: the last value stands, ask later.
            5 => {
                self.again(at, now, Duration::ZERO);
                Vec::new()
            }
            6 => {
                self.again(at, now, Duration::ZERO);
                self.blocks[at].busy += 1;
                if self.blocks[at].busy == BUSY_TRIES { self.block_stale(at, time) } else { Vec::new() }
            }
            10 | 11 => self.unit_down(self.blocks[at].block.unit, now, time),
            _ => {
                self.again(at, now, Duration::ZERO);
                self.block_status(at, StatusCode::BAD_DEVICE_FAILURE, time)
            }
        }
    }

    /// The unit answered something.
    pub fn answered(&mut self, unit: u8) {
        if let Some(unit) = self.units.get_mut(&unit) {
            *unit = Unit::default();
        }
    }

    /// The unit did not answer in time; returns how often in a row.
    pub fn silent(&mut self, unit: u8) -> u32 {
        self.units.get_mut(&unit).map_or(u32::MAX, |unit| {
            unit.silent += 1;
            unit.silent
        })
    }

    /// Leaves the unit alone for a while, longer each time, and marks its tags (once).
    pub fn unit_down(&mut self, number: u8, now: Instant, time: Timestamp) -> Vec<Sample> {
        let Some(unit) = self.units.get_mut(&number) else { return Vec::new() };
        let pause = unit.down.map_or(FIRST_BACK_OFF, |(_, pause)| (pause * 2).min(LONGEST_BACK_OFF));
        let was_up = unit.down.replace((now + pause, pause)).is_none();
        if !was_up {
            return Vec::new();
        }
        let lost = (0..).zip(&self.points).filter(|(_, point)| point.unit == number);
        lost.map(|(at, _)| self.lost(at, time)).collect()
    }

    /// True when no unit is known or thought to answer.
    pub fn all_down(&self) -> bool {
        self.units.values().all(|unit| unit.down.is_some())
    }

    /// The blocks that hold this place are read next: it was written.
    pub fn written(&mut self, point: &Point, now: Instant) {
        for Scheduled { block, due, .. } in &mut self.blocks {
            let same = block.unit == point.unit && block.table == point.table;
            let inside = point.address >= block.address && point.address - block.address < block.count;
            if same && inside {
                *due = (*due).min(now);
            }
        }
    }

    fn tag(&self, at: u32) -> (&SourceTag, &Point) {
        let owner = self.owner[at as usize];
        (&self.tags[owner as usize], &self.points[at as usize])
    }

    /// When the block is read next: on its own raster, without catching up on what was missed.
    fn again(&mut self, at: usize, now: Instant, at_least: Duration) {
        let scheduled = &mut self.blocks[at];
        let poll = scheduled.block.poll.max(at_least);
        let next = scheduled.due + poll;
        scheduled.due = if next > now { next } else { now + poll };
    }

    fn block_status(&self, at: usize, status: StatusCode, time: Timestamp) -> Vec<Sample> {
        let bad = |index: &u32| Sample { tag: self.tag(*index).0.id, value: Value::Null, status, source_time: time };
        self.blocks[at].block.tags.iter().map(bad).collect()
    }

    fn block_stale(&self, at: usize, time: Timestamp) -> Vec<Sample> {
        let status = StatusCode::UNCERTAIN_LAST_USABLE_VALUE;
        let stale = |index: &u32| {
            let value = self.last[*index as usize].clone();
            let status = if value.is_null() { StatusCode::BAD_RESOURCE_UNAVAILABLE } else { status };
            Sample { tag: self.tag(*index).0.id, value, status, source_time: time }
        };
        self.blocks[at].block.tags.iter().map(stale).collect()
    }

    fn lost(&self, at: u32, time: Timestamp) -> Sample {
        let (def, _) = self.tag(at);
        let last = &self.last[at as usize];
        let (value, status) = match def.on_comm_loss {
            OnCommLoss::Hold if !last.is_null() => (last.clone(), StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
            OnCommLoss::Hold | OnCommLoss::Bad => (Value::Null, StatusCode::BAD_NO_COMMUNICATION),
        };
        Sample { tag: def.id, value, status, source_time: time }
    }
}

/// What an exception means to whoever wrote (the table beside [`State::refused`]).
#[must_use]
pub fn write_status(exception: ExceptionCode) -> StatusCode {
    match u8::from(exception) {
        1 => StatusCode::BAD_NOT_SUPPORTED,
        2 => StatusCode::BAD_CONFIGURATION_ERROR,
        3 => StatusCode::BAD_OUT_OF_RANGE,
        5 => StatusCode::GOOD_COMPLETES_ASYNCHRONOUSLY,
        6 => StatusCode::BAD_RESOURCE_UNAVAILABLE,
        10 | 11 => StatusCode::BAD_COMMUNICATION_ERROR,
        _ => StatusCode::BAD_DEVICE_FAILURE,
    }
}

/// What an exception means to whoever asked for one value now.
#[must_use]
pub fn read_status(exception: ExceptionCode) -> StatusCode {
    match u8::from(exception) {
        1..=3 => StatusCode::BAD_CONFIGURATION_ERROR,
        5 | 6 => StatusCode::BAD_RESOURCE_UNAVAILABLE,
        10 | 11 => StatusCode::BAD_NO_COMMUNICATION,
        _ => StatusCode::BAD_DEVICE_FAILURE,
    }
}

/// The request that reads `count` from `address` of `table`.
#[must_use]
pub fn read_request(table: Table, address: u16, count: u16) -> tokio_modbus::Request<'static> {
    use tokio_modbus::Request;
    match table {
        Table::Coil => Request::ReadCoils(address, count),
        Table::Discrete => Request::ReadDiscreteInputs(address, count),
        Table::Holding => Request::ReadHoldingRegisters(address, count),
        Table::Input => Request::ReadInputRegisters(address, count),
    }
}
