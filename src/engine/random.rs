//! The engine's chance: event ids, codes and jitter from a seed that is saved with the state, so that the same seed gives the
//! same day. The seed itself comes from outside; nothing here asks the system for entropy.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Letters and digits that cannot be confused when read aloud, handwritten or typed on a phone: no `0 O`, `1 I L`, `2 Z`, `5 S`,
/// `8 B`, `U V`; and no vowel at all, so that no word comes out, Twilio's (`STOP`, `END`, `HELP`, …) and `ALL` included.
const CODE_ALPHABET: &[u8] = b"CDFGHJKMNPQRTWXY34679";

/// The lengths that a code may have (SPEC 9).
pub const CODE_LENGTHS: std::ops::RangeInclusive<usize> = 3..=4;

/// A stream of random numbers. Not for secrets: whoever knows the seed knows what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// The stream that `seed` starts.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Mixes fresh entropy in, at every start: should a crash have lost the newest seed, no id is given twice all the same.
    pub fn stir(&mut self, entropy: u64) {
        self.seed = self.next(|rng| rng.u64(..)) ^ entropy;
    }

    /// A version 4 UUID (RFC 9562, section 5.4).
    pub fn uuid(&mut self) -> Uuid {
        let bits = self.next(|rng| u128::from(rng.u64(..)) << 64 | u128::from(rng.u64(..)));
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A code of `length` characters, limited to [`CODE_LENGTHS`], never all digits. Whether it is free is the caller's to know.
    pub fn code(&mut self, length: usize) -> String {
        let length = length.clamp(*CODE_LENGTHS.start(), *CODE_LENGTHS.end());
        self.next(|rng| {
            let mut code: Vec<u8> = (0..length).map(|_| CODE_ALPHABET[rng.usize(..CODE_ALPHABET.len())]).collect();
            if code.iter().all(u8::is_ascii_digit) {
                let letters = CODE_ALPHABET.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
                code[rng.usize(..length)] = CODE_ALPHABET[rng.usize(..letters)];
            }
            code.into_iter().map(char::from).collect()
        })
    }

    /// A time from zero to (not including) `span`.
    pub fn jitter(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.next(fastrand::Rng::f64))
    }

    /// A number from `low` to (not including) `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next(fastrand::Rng::f64)
    }

    /// A stream of its own, for what must not move this one on.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self { seed: self.next(|rng| rng.u64(..)) }
    }

    /// A stream of its own that this one, where it stands, and `salt` give together; this one stays as it is.
    #[must_use]
    pub fn branch(&self, salt: u64) -> Self {
        let mut branch = Self { seed: self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        branch.split()
    }

    fn next<T>(&mut self, take: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let taken = take(&mut rng);
        self.seed = rng.get_seed();
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_can_be_told_from_pins_and_from_words() {
        let mut random = Random::new(7);
        let words = ["STOP", "END", "QUIT", "HELP", "INFO", "YES", "ALL", "PIN"];
        for turn in 0..20_000 {
            let code = random.code(turn % 7);
            assert!(CODE_LENGTHS.contains(&code.len()), "{code}");
            assert!(code.bytes().any(|byte| byte.is_ascii_uppercase()), "{code}");
            assert!(code.bytes().all(|byte| !b"0O1IL2Z5S8BUV".contains(&byte)), "{code}");
            assert!(!words.contains(&&*code));
        }
    }

    #[test]
    fn the_stream_goes_on_where_it_was_saved() {
        let mut random = Random::new(42);
        let mut seen: HashSet<Uuid> = (0..10_000).map(|_| random.uuid()).collect();
        let mut restored: Random = serde_json::from_str(&serde_json::to_string(&random).unwrap()).unwrap();
        let next = restored.uuid();
        assert_eq!(next, random.uuid());
        assert!(seen.insert(next) && seen.len() == 10_001);
        assert_eq!(next.get_version_num(), 4);
        random.stir(1);
        restored.stir(2);
        assert_ne!(random.uuid(), restored.uuid());
        assert!(random.jitter(Duration::from_secs(2)) < Duration::from_secs(2));
    }
}
