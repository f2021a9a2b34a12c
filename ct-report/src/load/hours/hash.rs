//! A hash of short keys that is quick rather than strong: it is asked for every record.
//!
//! Each word is mixed in by a multiplication, as rustc's own tables do it. The seed is the
//! process's own, so that names of jobs cannot be chosen to collide once and for all.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd number without a pattern: 2⁶⁴ over the golden ratio (Knuth, volume 3, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers of one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quick {
    seed: u64,
}

impl Default for Quick {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(FACTOR) }
    }
}

impl BuildHasher for Quick {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher { state: self.seed }
    }
}

/// The hash of one key.
#[derive(Debug)]
pub(super) struct QuickHasher {
    state: u64,
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = (self.state.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        // Tables look at the upper and at the lower bits.
        self.state ^ (self.state >> 32)
    }
}
