//! How a block's payload becomes the bytes that are stored: zstd, then AES-256-GCM with the block's head as associated
//! data.
//!
//! Invariants: a nonce is random and used once; a head that was changed, and a payload that was moved to another
//! place, do not decrypt. A payload that does not become smaller is stored as it is, and the head says so.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aes_gcm::{Aes256Gcm, Tag, aead::AeadInOut};
use bytes::Bytes;

use super::error::FetchError;
use crate::{
    model::limits::BLOCK_BYTES_MAX,
    store::{Block, BlockHead},
};

/// Compression of a payload, by the number in the head.
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// The level of zstd for fresh blocks, whose publishers wait: the cheapest that still reaches most of the ratio on JSON.
pub(super) const LEVEL_FRESH: i32 = 1;

/// The level for joined blocks, for which nobody waits: the last that costs hardly more than the first. What the levels beyond it gain
/// on JSON is a tenth, for several times the work.
pub(super) const LEVEL_JOINED: i32 = 3;

const TAG_BYTES: usize = 16;

/// Up to this size the memory for compressing is kept from block to block.
const SCRATCH_BYTES_MAX: usize = 1024 * 1024;

/// The sealers that nobody is using. There are as many as blocks were ever sealed at the same time, which is the number of
/// threads and not of topics: each has more than a megabyte of working memory.
#[derive(Debug, Clone)]
pub(super) struct Sealers {
    idle: Arc<Mutex<Vec<Sealer>>>,
    /// How hard zstd tries.
    level: i32,
}

impl Sealers {
    pub(super) fn new(level: i32) -> Sealers {
        Sealers { idle: Arc::default(), level }
    }

    /// Makes a block of a payload. The head's `codec` and `raw_bytes` are filled in here.
    pub(super) fn seal(&self, cipher: &Aes256Gcm, head: BlockHead, payload: &[u8]) -> Block {
        let mut sealer = self.idle().pop().unwrap_or_else(|| Sealer::new(self.level));
        let block = sealer.seal(cipher, head, payload);
        self.idle().push(sealer);
        block
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sealer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compresses and encrypts. It keeps its working memory from block to block.
struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    fn new(level: i32) -> Sealer {
        let compressor =
            zstd::bulk::Compressor::new(level).expect("zstd's context is made of memory alone, and its level exists");
        Sealer { compressor, scratch: Vec::new() }
    }

    fn seal(&mut self, cipher: &Aes256Gcm, mut head: BlockHead, payload: &[u8]) -> Block {
        head.raw_bytes = u32::try_from(payload.len()).expect("a payload is bounded by the limit of a block");
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        let compressed = match self.compressor.compress_to_buffer(payload, &mut self.scratch) {
            Ok(bytes) if bytes < payload.len() => {
                head.codec = CODEC_ZSTD;
                &self.scratch[..]
            }
            _ => {
                head.codec = CODEC_NONE;
                payload
            }
        };
        let mut stored = Vec::with_capacity(compressed.len() + TAG_BYTES);
        stored.extend_from_slice(compressed);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        let tag = cipher
            .encrypt_inout_detached(&head.nonce.into(), &head.to_bytes(), stored.as_mut_slice().into())
            .expect("a block is far smaller than what the cipher can take");
        stored.extend_from_slice(&tag);
        Block { head, payload: stored.into() }
    }
}

thread_local! {
    /// Made once for each thread that opens blocks: a context is larger than most of what it decompresses.
    static DECOMPRESSOR: RefCell<zstd::bulk::Decompressor<'static>> = RefCell::new(
        zstd::bulk::Decompressor::new().expect("zstd's context is made of memory alone"),
    );
}

/// Decompresses what has at most this many bytes.
fn decompress(compressed: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(compressed, bytes_max))
}

/// Decrypts and decompresses a block's payload.
pub(super) fn open(cipher: &Aes256Gcm, block: &Block) -> Result<Bytes, FetchError> {
    let head = &block.head;
    let damaged = |what| {
        let (topic, first) = (head.topic, head.base);
        FetchError::Damaged { topic, first, last: first.plus(u64::from(head.count).saturating_sub(1)), what }
    };
    let (sealed, tag) = block.payload.split_last_chunk::<TAG_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    let mut plain = sealed.to_vec();
    cipher
        .decrypt_inout_detached(&head.nonce.into(), &head.to_bytes(), plain.as_mut_slice().into(), &Tag::from(*tag))
        .map_err(|_| damaged("it does not decrypt"))?;
    let raw_bytes = usize::try_from(head.raw_bytes).unwrap_or(usize::MAX);
    if raw_bytes > BLOCK_BYTES_MAX {
        return Err(damaged("its head claims more bytes than a block can have"));
    }
    let payload = match head.codec {
        CODEC_NONE => plain,
        CODEC_ZSTD => decompress(&plain, raw_bytes).map_err(|_| damaged("it does not decompress"))?,
        _ => return Err(damaged("its compression is unknown")),
    };
    if payload.len() != raw_bytes {
        return Err(damaged("its payload has another length than its head says"));
    }
    Ok(payload.into())
}

#[cfg(test)]
mod tests {
    use aes_gcm::KeyInit;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Offset, Rlid, Time, TopicId, Ulid};

    fn head() -> BlockHead {
        BlockHead {
            topic: TopicId(Ulid::from_bytes([7; 16])),
            base: Offset::new(3),
            count: 2,
            first_rlid: Rlid::from_parts(5, 1),
            last_rlid: Rlid::from_parts(5, 2),
            first_committed: Time::from_millis(5),
            last_committed: Time::from_millis(5),
            key_version: 1,
            codec: 0,
            raw_bytes: 0,
            nonce: [9; 12],
        }
    }

    fn cipher() -> Aes256Gcm {
        Aes256Gcm::new(&[1; 32].into())
    }

    proptest! {
        #[test]
        fn a_payload_round_trips_and_damage_is_found(payload: Vec<u8>, repeat in 0_usize..50, bit: prop::sample::Index) {
            let payload = payload.repeat(repeat);
            let block = Sealer::new(LEVEL_FRESH).seal(&cipher(), head(), &payload);
            prop_assert_eq!(&open(&cipher(), &block).unwrap()[..], &payload[..]);

            let mut bytes = block.payload.to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damaged = Block { payload: bytes.into(), ..block.clone() };
            let refused = matches!(open(&cipher(), &damaged), Err(FetchError::Damaged { .. }));
            prop_assert!(refused);
        }
    }

    /// A block that is put into another place of the journal, or into another topic, must not be taken for what belongs there.
    #[test]
    fn the_head_is_authenticated() {
        let block = Sealer::new(LEVEL_FRESH).seal(&cipher(), head(), &[5; 1000]);
        let moved = BlockHead { base: Offset::new(4), ..block.head.clone() };
        assert!(open(&cipher(), &Block { head: moved, ..block.clone() }).is_err());
        let dated = BlockHead { last_committed: Time::from_millis(6), ..block.head.clone() };
        assert!(open(&cipher(), &Block { head: dated, ..block }).is_err());
    }
}
