//! Frames: a block as it stands in a segment, behind a header of its own.

use bytes::{Buf, BufMut, Bytes};
use crc32c::crc32c_append;

use crate::model::BlockHead;

const MAGIC: [u8; 4] = *b"EnFr";
const VERSION: u8 = 1;

/// A block, to be written or as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub head: BlockHead,
    pub payload: Bytes,
}

impl Frame {
    /// How much room the frame takes in a segment, in bytes.
    pub fn bytes(&self) -> u64 {
        (FrameHeader::BYTES + self.payload.len()) as u64
    }
}

/// What stands before a payload (docs/format.md, 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) sequence: u64,
    pub(super) group: u64,
    pub(super) head: BlockHead,
    pub(super) stored_bytes: u32,
    pub(super) payload_crc: u32,
    /// The checksum of the header before this one.
    pub(super) previous: u32,
}

/// Why bytes are not a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// There is no header here, or not all of it.
    Torn,
    /// A header that is whole, of a version that this program does not know.
    Version(u8),
    /// A header that is whole and says what cannot be.
    Senseless,
}

impl FrameHeader {
    pub(super) const BYTES: usize = 128;
    pub(super) const MAGIC: [u8; 4] = MAGIC;

    /// The header's bytes and its checksum, which starts from the segment's seed.
    pub(super) fn encode(&self, seed: u32) -> ([u8; FrameHeader::BYTES], u32) {
        let mut bytes = [0; FrameHeader::BYTES];
        let mut rest = &mut bytes[..];
        rest.put_slice(&MAGIC);
        rest.put_u8(VERSION);
        rest.put_bytes(0, 3);
        rest.put_u64_le(self.sequence);
        rest.put_u64_le(self.group);
        rest.put_slice(&self.head.to_bytes());
        rest.put_bytes(0, 3);
        rest.put_u32_le(self.stored_bytes);
        rest.put_u32_le(self.payload_crc);
        rest.put_u32_le(self.previous);
        assert_eq!(rest.len(), 4, "the fields fill the header up to its checksum");
        let crc = crc32c_append(seed, &bytes[..FrameHeader::BYTES - 4]);
        bytes[FrameHeader::BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header and its checksum.
    pub(super) fn decode(bytes: &[u8; FrameHeader::BYTES], seed: u32) -> Result<(FrameHeader, u32), Flaw> {
        let mut rest = &bytes[..];
        if !rest.starts_with(&MAGIC) {
            return Err(Flaw::Torn);
        }
        let crc = u32::from_le_bytes(bytes[FrameHeader::BYTES - 4..].try_into().expect("four bytes"));
        if crc != crc32c_append(seed, &bytes[..FrameHeader::BYTES - 4]) {
            return Err(Flaw::Torn);
        }
        rest.advance(MAGIC.len());
        match rest.get_u8() {
            VERSION => {}
            version => return Err(Flaw::Version(version)),
        }
        let mut reserved = rest.get_uint_le(3);
        let (sequence, group) = (rest.get_u64_le(), rest.get_u64_le());
        let (head, behind) = rest.split_first_chunk().expect("a header is longer than a head");
        let head = BlockHead::from_bytes(head);
        rest = behind;
        reserved |= rest.get_uint_le(3);
        let (stored_bytes, payload_crc, previous) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u32_le());
        let header = FrameHeader { sequence, group, head, stored_bytes, payload_crc, previous };
        let sensible =
            reserved == 0 && header.group <= header.sequence && header.head.count > 0 && header.head.base.get() > 0;
        if sensible { Ok((header, crc)) } else { Err(Flaw::Senseless) }
    }

    /// The frame's length, header and payload, in bytes.
    pub(super) fn frame_bytes(&self) -> u64 {
        FrameHeader::BYTES as u64 + u64::from(self.stored_bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::journal) fn any_head() -> impl Strategy<Value = BlockHead> {
        prop::collection::vec(any::<u8>(), BlockHead::BYTES).prop_map(|bytes| {
            let mut head = BlockHead::from_bytes(&bytes.try_into().unwrap());
            head.count = head.count.max(1);
            head
        })
    }

    proptest! {
        #[test]
        fn headers_round_trip(
            head in any_head(), sequence: u64, back: u16, stored_bytes: u32, payload_crc: u32, previous: u32, seed: u32,
        ) {
            prop_assume!(head.base.get() > 0);
            let group = sequence.saturating_sub(u64::from(back));
            let header = FrameHeader { sequence, group, head, stored_bytes, payload_crc, previous };
            let (bytes, crc) = header.encode(seed);
            prop_assert_eq!(FrameHeader::decode(&bytes, seed), Ok((header, crc)));
            prop_assert_eq!(FrameHeader::decode(&bytes, seed ^ 1), Err(Flaw::Torn), "of another segment");
        }

        #[test]
        fn a_changed_bit_is_noticed(head in any_head(), bit in 0..FrameHeader::BYTES * 8) {
            prop_assume!(head.base.get() > 0);
            let header = FrameHeader { sequence: 9, group: 8, head, stored_bytes: 7, payload_crc: 6, previous: 5 };
            let (mut bytes, _) = header.encode(3);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes, 3), Err(Flaw::Torn));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), FrameHeader::BYTES)) {
            let mut bytes: [u8; FrameHeader::BYTES] = bytes.try_into().unwrap();
            bytes[..4].copy_from_slice(&MAGIC);
            let crc = crc32c_append(1, &bytes[..FrameHeader::BYTES - 4]);
            bytes[FrameHeader::BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
            let expected = if bytes[4] == VERSION { Flaw::Senseless } else { Flaw::Version(bytes[4]) };
            prop_assume!(bytes[5..8] != [0; 3]);
            prop_assert_eq!(FrameHeader::decode(&bytes, 1), Err(expected));
        }
    }
}
