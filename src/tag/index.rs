//! From a path to its place in a list that somebody else keeps: eight bytes a slot, no copy of the path.

/// Slots that lie in one cache line and are compared together, without a branch that could be foretold wrongly.
const GROUP: usize = 8;
/// Of a group's slots so many are used, on average and at most.
const FILLED: usize = 6;
const EMPTY: u64 = u64::MAX;

/// Places (below 2³² − 1) by path. Whoever asks says what path stands at a place.
#[derive(Clone, Debug, Default)]
pub struct PathIndex {
    groups: Box<[Group]>,
    used: usize,
}

/// High half of a slot: hash of the path; low half: place. Filled from the front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Group([u64; GROUP]);

impl Group {
    /// The slots with this hash, as bits.
    #[inline]
    fn with(&self, hash: u32) -> u32 {
        let same = |slot: &u64| u32::from(*slot >> 32 == u64::from(hash)) & u32::from(*slot != EMPTY);
        self.0.iter().rev().fold(0, |bits, slot| bits << 1 | same(slot))
    }
}

impl PathIndex {
    /// One with room for `count` places.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self { groups: vec![Group([EMPTY; GROUP]); count / FILLED + 1].into(), used: 0 }
    }

    /// How many places were entered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// True before the first place is entered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The place of `path`; `at` gives the path at a place.
    #[inline]
    pub fn find<'p>(&self, path: &str, at: impl Fn(u32) -> &'p str) -> Option<u32> {
        if self.groups.is_empty() {
            return None;
        }
        let hash = hash(path);
        let mut place = self.first(hash);
        loop {
            let group = &self.groups[place];
            let mut same = group.with(hash);
            while same != 0 {
                let found = low_half(group.0[same.trailing_zeros() as usize]);
                if at(found) == path {
                    return Some(found);
                }
                same &= same - 1;
            }
            if group.0[GROUP - 1] == EMPTY {
                return None;
            }
            place = self.after(place);
        }
    }

    /// Enters a path that is not there yet.
    pub fn insert(&mut self, path: &str, place: u32) {
        if self.used >= self.groups.len() * FILLED {
            self.resize((self.used + 1) * 2);
        }
        self.put((u64::from(hash(path)) << 32) | u64::from(place));
        self.used += 1;
    }

    /// Gives back what was allocated for growth.
    pub fn shrink_to_fit(&mut self) {
        if self.used / FILLED + 1 < self.groups.len() {
            self.resize(self.used);
        }
    }

    fn resize(&mut self, count: usize) {
        let old = std::mem::replace(self, Self::with_capacity(count));
        for slot in old.groups.iter().flat_map(|group| group.0).filter(|slot| *slot != EMPTY) {
            self.put(slot);
        }
        self.used = old.used;
    }

    fn put(&mut self, entry: u64) {
        #[allow(clippy::cast_possible_truncation)] // The high half has 32 bits.
        let mut place = self.first((entry >> 32) as u32);
        loop {
            if let Some(slot) = self.groups[place].0.iter_mut().find(|slot| **slot == EMPTY) {
                *slot = entry;
                return;
            }
            place = self.after(place);
        }
    }

    /// The group after the one at `place`, without the cost of a division.
    const fn after(&self, place: usize) -> usize {
        if place + 1 < self.groups.len() { place + 1 } else { 0 }
    }

    /// Where the search begins: the hash, spread over all groups.
    #[allow(clippy::cast_possible_truncation)] // Below the number of groups.
    fn first(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.groups.len() as u64) >> 32) as usize
    }
}

#[allow(clippy::cast_possible_truncation)] // The low half has 32 bits.
const fn low_half(entry: u64) -> u32 {
    entry as u32
}

/// Multiplies eight bytes at a time. Only the configuration enters paths, so nobody can choose colliding ones.
#[inline]
fn hash(path: &str) -> u32 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = path.as_bytes();
    let (chunks, rest) = bytes.as_chunks::<8>();
    // The last eight bytes, some of them once more: no copy of a length that is only known now.
    let tail = bytes.last_chunk::<8>().copied().unwrap_or_else(|| {
        let mut tail = [0; 8];
        tail[..rest.len()].copy_from_slice(rest);
        tail
    });
    let words = chunks.iter().chain([&tail]).map(|chunk| u64::from_le_bytes(*chunk));
    let mixed = words.fold(path.len() as u64, |hash, word| {
        let product = u128::from(hash ^ word ^ FACTOR) * u128::from(FACTOR);
        #[allow(clippy::cast_possible_truncation)] // Both halves are used.
        let folded = (product >> 64) as u64 ^ product as u64;
        folded
    });
    #[allow(clippy::cast_possible_truncation)] // Both halves are used.
    let short = (mixed >> 32) as u32 ^ mixed as u32;
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_at_its_place_and_no_other() {
        let paths: Vec<String> = (0..10_000).map(|number| format!("Plant/Area{:02}/Tag{number:05}", number % 7)).collect();
        let mut index = PathIndex::default();
        assert_eq!(index.find("x", |_| ""), None);
        for (place, path) in (0..).zip(&paths) {
            assert_eq!(index.find(path, |place| &paths[place as usize]), None);
            index.insert(path, place);
        }
        for (place, path) in (0..).zip(&paths) {
            assert_eq!(index.find(path, |place| &paths[place as usize]), Some(place));
        }
        for none in ["", "Plant", "Plant/Area00/Tag10000"] {
            assert_eq!(index.find(none, |place| &paths[place as usize]), None);
        }
    }

    #[test]
    fn hashes_are_spread() {
        let mut slots = vec![0_u32; 1_024];
        for number in 0..102_400_u64 {
            let hash = hash(&format!("Plant/Line1/Tag{number:06}"));
            slots[usize::try_from((u64::from(hash) * 1_024) >> 32).unwrap()] += 1;
        }
        assert!(slots.iter().all(|count| (40..200).contains(count)), "{slots:?}");
    }
}
