//! From a path to its place in a list that somebody else keeps: eight bytes a slot, no copy of the path.

/// Of this many slots at most [`FILLED`] are used.
const SLOTS: usize = 4;
const FILLED: usize = 3;
const FEWEST: usize = 16;
const EMPTY: u64 = u64::MAX;

/// Places (below 2³² − 1) by path. Whoever asks says what path stands at a place.
#[derive(Clone, Debug, Default)]
pub struct PathIndex {
    /// High half: hash of the path; low half: place.
    slots: Box<[u64]>,
    used: usize,
}

impl PathIndex {
    /// One with room for `count` places.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self { slots: vec![EMPTY; (count * SLOTS / FILLED + 1).max(FEWEST)].into(), used: 0 }
    }

    /// The place of `path`; `at` gives the path at a place.
    pub fn find<'p>(&self, path: &str, at: impl Fn(u32) -> &'p str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = hash(path);
        let mut slot = self.first(hash);
        loop {
            let found = self.slots[slot];
            if found == EMPTY {
                return None;
            }
            if found >> 32 == u64::from(hash) && at(place(found)) == path {
                return Some(place(found));
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    /// Enters a path that is not there yet.
    pub fn insert(&mut self, path: &str, place: u32) {
        if (self.used + 1) * SLOTS > self.slots.len() * FILLED {
            let old = std::mem::replace(self, Self::with_capacity((self.used + 1) * 2));
            for entry in old.slots.into_iter().filter(|entry| *entry != EMPTY) {
                self.put(entry);
            }
            self.used = old.used;
        }
        self.put((u64::from(hash(path)) << 32) | u64::from(place));
        self.used += 1;
    }

    fn put(&mut self, entry: u64) {
        #[allow(clippy::cast_possible_truncation)] // The high half has 32 bits.
        let mut slot = self.first((entry >> 32) as u32);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = entry;
    }

    /// Where the search begins: the hash, spread over all slots.
    #[allow(clippy::cast_possible_truncation)] // Below the number of slots.
    fn first(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }
}

#[allow(clippy::cast_possible_truncation)] // The low half has 32 bits.
const fn place(entry: u64) -> u32 {
    entry as u32
}

/// Multiplies eight bytes at a time. Only the configuration enters paths, so nobody can choose colliding ones.
fn hash(path: &str) -> u32 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (chunks, rest) = path.as_bytes().as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
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
