//! Randomness: the operating system's, or a seeded sequence for tests that must repeat.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A source of random bytes. The real one is fit for keys and nonces.
#[derive(Debug, Clone)]
pub struct Entropy(Source);

#[derive(Debug, Clone)]
enum Source {
    Real,
    Seeded(Arc<AtomicU64>),
}

impl Entropy {
    pub fn real() -> Entropy {
        Entropy(Source::Real)
    }

    /// A sequence that depends on the seed alone. Never for anything that is kept.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    pub fn fill(&self, buffer: &mut [u8]) {
        match &self.0 {
            Source::Real => {
                getrandom::fill(buffer).expect("the operating system always has randomness once it has started");
            }
            Source::Seeded(state) => {
                for chunk in buffer.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// The next number of the SplitMix64 sequence.
fn split_mix(state: &AtomicU64) -> u64 {
    let seed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
