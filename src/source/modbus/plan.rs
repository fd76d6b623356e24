//! Which requests read which tags: the fewest, within what a device answers.
//!
//! Pure. A tag lies in exactly one block and is never split; blocks never mix units, tables or poll rates.

use std::time::Duration;

use super::address::{Point, Table};

/// Bits that cost as much to read needlessly as one register.
const BITS_PER_REGISTER: u16 = 16;

/// What bounds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Registers that nobody wants but that are read to save a request.
    pub max_gap: u16,
    /// Registers in one request, at most 125 (Application Protocol V1.1b3, 6.3).
    pub max_registers: u16,
    /// Bits in one request, at most 2000 (6.1).
    pub max_bits: u16,
}

/// One read request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whom to ask.
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// How often.
    pub poll: Duration,
    /// The first register or bit.
    pub address: u16,
    /// How many.
    pub count: u16,
    /// The tags in it, as positions in the list that was planned; by address, then span.
    pub tags: Vec<u32>,
}

/// Plans the reads of `points`.
///
/// # Panics
/// When there are 2^32 points or more.
#[must_use]
pub fn plan(points: &[Point], limits: Limits) -> Vec<Block> {
    let mut order: Vec<u32> = (0..u32::try_from(points.len()).expect("fewer than 2^32 tags")).collect();
    order.sort_by_key(|index| {
        let point = &points[*index as usize];
        (point.unit, point.table, point.poll, point.address, point.span())
    });
    let mut blocks: Vec<Block> = Vec::new();
    for index in order {
        let point = &points[index as usize];
        match blocks.last_mut().filter(|block| block.can_take(point, limits)) {
            Some(block) => {
                block.count = block.count.max(point.address - block.address + point.span());
                block.tags.push(index);
            }
            None => blocks.push(Block {
                unit: point.unit,
                table: point.table,
                poll: point.poll,
                address: point.address,
                count: point.span(),
                tags: vec![index],
            }),
        }
    }
    blocks
}

impl Block {
    fn can_take(&self, point: &Point, limits: Limits) -> bool {
        let (most, gap) = if self.table.is_bits() {
            (limits.max_bits, limits.max_gap.saturating_mul(BITS_PER_REGISTER))
        } else {
            (limits.max_registers, limits.max_gap)
        };
        let same = (self.unit, self.table, self.poll) == (point.unit, point.table, point.poll);
        let reach = u32::from(self.address) + u32::from(self.count) + u32::from(gap);
        let length = (u32::from(point.address) + u32::from(point.span())).saturating_sub(u32::from(self.address));
        same && u32::from(point.address) <= reach && length <= u32::from(most)
    }

    /// Two blocks for one that the device refused, cut near the middle of its tags; `None` when all of them lie in the same
    /// place. What lay between the halves is no longer read.
    #[must_use]
    pub fn split(&self, points: &[Point]) -> Option<(Self, Self)> {
        let place = |at: usize| {
            let point = &points[self.tags[at] as usize];
            (point.address, point.span())
        };
        let middle = self.tags.len() / 2;
        let cuts = (1..self.tags.len()).filter(|at| place(*at) != place(*at - 1));
        let cut = cuts.min_by_key(|at| at.abs_diff(middle))?;
        let (low, high) = self.tags.split_at(cut);
        Some((self.part(low, points), self.part(high, points)))
    }

    fn part(&self, tags: &[u32], points: &[Point]) -> Self {
        let points = tags.iter().map(|index| &points[*index as usize]);
        let (low, high) = points.fold((u32::MAX, 0), |(low, high), point| {
            (low.min(point.address.into()), high.max(u32::from(point.address) + u32::from(point.span())))
        });
        #[allow(clippy::cast_possible_truncation)]
        let (address, count) = (low as u16, (high - low) as u16);
        Self { address, count, tags: tags.into(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::format::{Encoding, Format},
        *,
    };

    const LIMITS: Limits = Limits { max_gap: 8, max_registers: 125, max_bits: 2000 };

    fn point(unit: u8, table: Table, address: u16, encoding: Encoding, poll: u64) -> Point {
        let poll = Duration::from_millis(poll);
        Point { unit, table, address, bit: None, format: Format::plain(encoding), elements: None, poll }
    }

    fn holding(address: u16, encoding: Encoding) -> Point {
        point(1, Table::Holding, address, encoding, 500)
    }

    #[track_caller]
    fn check(points: &[Point], limits: Limits, expected: &[(u16, u16)]) {
        let blocks: Vec<_> = plan(points, limits).iter().map(|block| (block.address, block.count)).collect();
        assert_eq!(blocks, expected);
    }

    #[test]
    fn neighbours_share_a_request() {
        use Encoding::{F64, U16, U32};
        check(&[holding(2, U32), holding(0, U32), holding(4, U16)], LIMITS, &[(0, 5)]);
        check(&[holding(0, U16), holding(9, U16)], LIMITS, &[(0, 10)]);
        check(&[holding(0, U16), holding(10, U16)], LIMITS, &[(0, 1), (10, 1)]);
        let limits = Limits { max_registers: 6, ..LIMITS };
        check(&[holding(0, U32), holding(4, F64)], limits, &[(0, 2), (4, 4)]);
        check(&[holding(0, F64), holding(1, U16)], limits, &[(0, 4)]);
        check(&[holding(65_534, U16), holding(65_535, U16)], LIMITS, &[(65_534, 2)]);
    }

    #[test]
    fn units_tables_and_rates_keep_apart() {
        let bit = Encoding::Bool;
        let points = [
            point(1, Table::Coil, 0, bit, 500),
            point(1, Table::Coil, 1, bit, 100),
            point(2, Table::Coil, 2, bit, 500),
            point(1, Table::Discrete, 3, bit, 500),
            point(1, Table::Coil, 128, bit, 500),
        ];
        check(&points, LIMITS, &[(1, 1), (0, 129), (3, 1), (2, 1)]);
    }

    #[test]
    fn a_refused_block_is_cut_between_places() {
        let points = [holding(0, Encoding::U16), holding(0, Encoding::U16), holding(5, Encoding::U32)];
        let block = plan(&points, LIMITS).remove(0);
        let (low, high) = block.split(&points).unwrap();
        assert_eq!((low.address, low.count, low.tags.len()), (0, 1, 2));
        assert_eq!((high.address, high.count, high.tags.len()), (5, 2, 1));
        assert_eq!(low.split(&points), None, "both tags lie in one register");
        assert_eq!(high.split(&points), None);
    }

    fn any_point() -> impl Strategy<Value = Point> {
        let encodings = [Encoding::U16, Encoding::F32, Encoding::F64, Encoding::Text(40)];
        let tables = [Table::Coil, Table::Discrete, Table::Holding, Table::Input];
        (1..3_u8, 0..4_usize, 0..65_000_u16, 0..4_usize, 1..3_u64, prop::option::of(1..12_u16)).prop_map(
            move |(unit, table, address, encoding, poll, elements)| {
                let address = if address % 3 == 0 { address % 300 } else { address };
                Point { elements, ..point(unit, tables[table], address, encodings[encoding], poll) }
            },
        )
    }

    proptest! {
        #[test]
        fn every_tag_lies_in_exactly_one_block(
            points in prop::collection::vec(any_point(), 0..200),
            max_gap in 0..30_u16,
            max_registers in 12 * 20..250_u16,
        ) {
            // Wider than a real device's 125, so that every generated array fits.
            let limits = Limits { max_gap, max_registers, max_bits: 64 };
            let mut blocks = plan(&points, limits);
            let mut splits = 0;
            loop {
                let mut seen = vec![0; points.len()];
                for block in &blocks {
                    let most = if block.table.is_bits() { limits.max_bits } else { limits.max_registers };
                    prop_assert!(block.count > 0 && block.count <= most);
                    for tag in &block.tags {
                        let point = &points[*tag as usize];
                        seen[*tag as usize] += 1;
                        prop_assert_eq!((block.unit, block.table, block.poll), (point.unit, point.table, point.poll));
                        prop_assert!(point.address >= block.address);
                        prop_assert!(point.address + point.span() <= block.address + block.count);
                    }
                }
                prop_assert!(seen.iter().all(|count| *count == 1));
                let Some(at) = blocks.iter().position(|block| block.split(&points).is_some()) else { break };
                let (low, high) = blocks.remove(at).split(&points).unwrap();
                blocks.extend([low, high]);
                splits += 1;
                prop_assert!(splits < points.len());
            }
        }
    }
}
