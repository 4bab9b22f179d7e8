//! The head of a block: what is known of a run of events without its key.

use bytes::{Buf, BufMut};

use super::{Offset, Rlid, Time, TopicId, Ulid};

/// What is known of a block without its key. All of it is authenticated together with the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHead {
    pub topic: TopicId,
    /// The offset of the first event.
    pub base: Offset,
    /// How many events, at least one; their offsets are dense.
    pub count: u32,
    pub first_rlid: Rlid,
    pub last_rlid: Rlid,
    /// When the first of its runs was committed, and the one that was committed latest; the same for a fresh block.
    pub first_committed: Time,
    pub last_committed: Time,
    /// Which version of the project's data key the payload is encrypted under.
    pub key_version: u32,
    /// How the payload was compressed before it was encrypted (docs/format.md).
    pub codec: u8,
    /// The length of the payload once decrypted and decompressed, in bytes.
    pub raw_bytes: u32,
    /// The nonce of the encryption; never used twice under one key.
    pub nonce: [u8; 12],
}

impl BlockHead {
    /// The length of the encoded head, in bytes.
    pub const BYTES: usize = 16 + 8 + 4 + 10 + 10 + 8 + 8 + 4 + 1 + 4 + 12;

    /// The offset after the last event.
    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }

    /// The head as it is stored, and authenticated together with the payload (docs/format.md): the fields in the order
    /// in which they are declared, numbers in little-endian order.
    pub fn to_bytes(&self) -> [u8; BlockHead::BYTES] {
        let mut bytes = [0; BlockHead::BYTES];
        let mut rest = &mut bytes[..];
        rest.put_slice(self.topic.as_bytes());
        rest.put_u64_le(self.base.get());
        rest.put_u32_le(self.count);
        rest.put_slice(self.first_rlid.as_bytes());
        rest.put_slice(self.last_rlid.as_bytes());
        rest.put_i64_le(self.first_committed.nanos());
        rest.put_i64_le(self.last_committed.nanos());
        rest.put_u32_le(self.key_version);
        rest.put_u8(self.codec);
        rest.put_u32_le(self.raw_bytes);
        rest.put_slice(&self.nonce);
        assert!(rest.is_empty(), "the fields fill the head");
        bytes
    }

    /// Reads what [`BlockHead::to_bytes`] wrote. Any bytes are a head; whether it is true is the caller's to check.
    pub fn from_bytes(bytes: &[u8; BlockHead::BYTES]) -> BlockHead {
        let mut rest = &bytes[..];
        BlockHead {
            topic: TopicId(Ulid::from_bytes(take(&mut rest))),
            base: Offset::new(rest.get_u64_le()),
            count: rest.get_u32_le(),
            first_rlid: Rlid::from_bytes(take(&mut rest)),
            last_rlid: Rlid::from_bytes(take(&mut rest)),
            first_committed: Time::from_nanos(rest.get_i64_le()),
            last_committed: Time::from_nanos(rest.get_i64_le()),
            key_version: rest.get_u32_le(),
            codec: rest.get_u8(),
            raw_bytes: rest.get_u32_le(),
            nonce: take(&mut rest),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    rest.copy_to_slice(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_round_trips(bytes in prop::collection::vec(any::<u8>(), BlockHead::BYTES)) {
            let bytes: [u8; BlockHead::BYTES] = bytes.try_into().unwrap();
            prop_assert_eq!(BlockHead::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
