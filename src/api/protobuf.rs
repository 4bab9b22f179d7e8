//! The encoding under the messages: fields are walked and written by hand where a message per event would cost too
//! much.
//!
//! What is accepted is what prost accepts, neither more nor less, so that an event that passed here decodes everywhere.

use std::ops::Range;

use crate::model::Time;

/// How deep messages and groups may be nested before a decoder gives up on them.
pub(super) const DEPTH_MAX: u32 = 100;

/// What is wrong with an encoded message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("the message has a number that is too long")]
    InvalidVarint,
    #[error("the message has a field with an invalid key")]
    InvalidKey,
    #[error("field {number} has an unexpected wire type")]
    UnexpectedWireType { number: u32 },
    #[error("field {number} is not an identifier")]
    InvalidIdentifier { number: u32 },
    #[error("a group in the message is not closed, or nested too deep")]
    InvalidGroup,
    #[error("field {number} is not a valid message")]
    InvalidField {
        number: u32,
        #[source]
        source: prost::DecodeError,
    },
    #[error("the message can't be decoded")]
    Undecodable(#[source] prost::DecodeError),
}

/// A field of an encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// Where the field lies in the message, its key included.
    pub(super) place: Range<usize>,
}

/// The value of a field, as far as its wire type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    /// Bytes, a text, a message, or packed numbers.
    Delimited(&'a [u8]),
    Group,
    Fixed32,
}

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(WireError::UnexpectedWireType { number: self.number }),
        }
    }

    #[inline]
    pub(super) fn delimited(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Delimited(bytes) => Ok(bytes),
            _ => Err(WireError::UnexpectedWireType { number: self.number }),
        }
    }
}

/// Walks the fields of an encoded message. After an error it gives nothing more.
#[derive(Debug)]
pub(super) struct FieldReader<'a> {
    message: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> FieldReader<'a> {
    /// Reads a message that is nested in `depth` others.
    pub(super) fn nested(message: &'a [u8], depth: u32) -> FieldReader<'a> {
        FieldReader { message, at: 0, depth }
    }

    pub(super) fn new(message: &'a [u8]) -> FieldReader<'a> {
        FieldReader::nested(message, 0)
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.at;
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = self.varint()?;
                Value::Delimited(self.skip(length)?)
            }
            3 => self.group(number, self.depth).map(|()| Value::Group)?,
            5 => self.skip(4).map(|_| Value::Fixed32)?,
            _ => return Err(WireError::InvalidGroup),
        };
        Ok(Field { number, value, place: start..self.at })
    }

    /// Passes over the fields of a group up to its end.
    fn group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        if depth >= DEPTH_MAX {
            return Err(WireError::InvalidGroup);
        }
        loop {
            let (inner, wire_type) = self.key()?;
            if wire_type == 4 {
                return if inner == number { Ok(()) } else { Err(WireError::InvalidGroup) };
            }
            if depth + 1 >= DEPTH_MAX {
                return Err(WireError::InvalidGroup);
            }
            match wire_type {
                0 => self.varint().map(|_| ())?,
                1 => self.skip(8).map(|_| ())?,
                2 => {
                    let length = self.varint()?;
                    self.skip(length)?;
                }
                3 => self.group(inner, depth + 1)?,
                _ => self.skip(4).map(|_| ())?,
            }
        }
    }

    /// A field's number and wire type; the latter is one of those that exist.
    #[inline]
    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let key = u32::try_from(self.varint()?).map_err(|_| WireError::InvalidKey)?;
        let wire_type = u8::try_from(key & 7).expect("three bits fit");
        if wire_type > 5 || key >> 3 == 0 {
            return Err(WireError::InvalidKey);
        }
        Ok((key >> 3, wire_type))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let (number, length) = take_varint(&self.message[self.at..])?;
        self.at += length;
        Ok(number)
    }

    #[inline]
    fn skip(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let rest = &self.message[self.at..];
        let skipped = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or(WireError::Truncated)?;
        self.at += skipped.len();
        Ok(skipped)
    }
}

impl<'a> Iterator for FieldReader<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// The member of a message that holds nothing else, by its key of one byte: the messages that are a oneof and nothing more are
/// written like this by every encoder.
#[inline]
pub(super) fn sole_member(message: &[u8], key: u8) -> Option<&[u8]> {
    let (&first, rest) = message.split_first()?;
    let (length, length_bytes) = take_varint(rest).ok()?;
    let member = &rest[length_bytes..];
    (first == key && member.len() as u64 == length).then_some(member)
}

/// Takes the next field off a message that is as encoders write it; `None` where only a decoder can judge what comes,
/// and at the end.
///
/// It does what [`FieldReader`] does for the fields that there are many of. What it gives fits into registers; an error
/// that says what is wrong would not, and writing it to memory and back takes longer than all the rest.
#[inline]
pub(super) fn plain_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let key = u32::try_from(plain_varint(rest)?).ok()?;
    let value = match key & 7 {
        0 => Value::Varint(plain_varint(rest)?),
        2 => {
            let length = usize::try_from(plain_varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Value::Delimited(bytes)
        }
        _ => return None,
    };
    (key >> 3 > 0).then_some((key >> 3, value))
}

#[inline]
fn plain_varint(rest: &mut &[u8]) -> Option<u64> {
    let (number, length) = varint(rest)?;
    *rest = &rest[length..];
    Some(number)
}

/// The number at the beginning of `bytes`, and how many bytes it takes.
#[inline]
pub(super) fn take_varint(bytes: &[u8]) -> Result<(u64, usize), WireError> {
    varint(bytes).ok_or_else(|| varint_error(bytes))
}

#[cold]
fn varint_error(bytes: &[u8]) -> WireError {
    if bytes.len() < 10 { WireError::Truncated } else { WireError::InvalidVarint }
}

#[inline]
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    match *bytes {
        // Keys and most lengths.
        [byte @ ..0x80, ..] => Some((u64::from(byte), 1)),
        [first, second @ ..0x80, ..] => Some((u64::from(first & 0x7f) | u64::from(second) << 7, 2)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        if at == 9 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((number, at + 1));
        }
    }
    None
}

/// An `int32` as its varint means it: the lower half counts.
#[inline]
pub(super) fn int32(number: u64) -> i32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// How many bytes a number takes.
#[inline]
pub(super) fn varint_bytes(number: u64) -> usize {
    prost::encoding::encoded_len_varint(number)
}

/// How many bytes the length of something this long takes, and the thing itself.
#[inline]
pub(super) fn delimited_bytes(length: usize) -> usize {
    varint_bytes(length as u64) + length
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Writes a field of bytes whose key is a single byte.
#[inline]
pub(super) fn put_delimited(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.push(key);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The two numbers of a timestamp as protobuf encodes them; zero is left out.
#[inline]
fn timestamp_parts(time: Time) -> (u64, u64) {
    let nanos = u64::from(time.subsecond_nanos().unsigned_abs());
    (time.seconds().cast_unsigned(), nanos)
}

/// The length of an encoded timestamp.
#[inline]
pub(super) fn timestamp_bytes(time: Time) -> usize {
    let field = |number| if number == 0 { 0 } else { 1 + varint_bytes(number) };
    let (seconds, nanos) = timestamp_parts(time);
    field(seconds) + field(nanos)
}

/// Writes a field with a timestamp whose key is a single byte.
#[inline]
pub(super) fn put_timestamp(out: &mut Vec<u8>, key: u8, time: Time) {
    out.push(key);
    put_varint(out, timestamp_bytes(time) as u64);
    let (seconds, nanos) = timestamp_parts(time);
    for (key, number) in [(0x08, seconds), (0x10, nanos)] {
        if number != 0 {
            out.push(key);
            put_varint(out, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_prost_reads_them() {
        for bytes in [
            &[0x00][..],
            &[0x7f],
            &[0x80, 0x00],
            &[0xac, 0x02],
            &[0x80],
            &[],
            &[0xff; 9],
            &[0xff; 10],
            &[0xff; 12],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            let mut rest = bytes;
            let theirs = prost::encoding::decode_varint(&mut rest).ok();
            let ours = take_varint(bytes).ok();
            assert_eq!(ours.map(|(number, _)| number), theirs, "{bytes:x?}");
            if let Some((_, length)) = ours {
                assert_eq!(length, bytes.len() - rest.len());
            }
        }
    }

    #[test]
    fn groups_are_passed_over_as_deep_as_prost_does() {
        for depth in [1_usize, 2, 99, 100, 101, 150] {
            let mut message = vec![0x1b; depth];
            message.extend(vec![0x1c; depth]);
            let ours = FieldReader::new(&message).all(|field| field.is_ok());
            let theirs = <() as prost::Message>::decode(&message[..]).is_ok();
            assert_eq!(ours, theirs, "{depth}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_by_prost(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            let ours = FieldReader::new(&message).all(|field| field.is_ok());
            prop_assert_eq!(ours, <() as prost::Message>::decode(&message[..]).is_ok());
        }

        /// What is plain is what the reader of all fields finds there, and a message that is plain to its end is valid.
        #[test]
        fn plain_fields_are_fields(message in proptest::collection::vec(0_u8..160, 0..40)) {
            let mut rest = &message[..];
            let mut fields = FieldReader::new(&message);
            while let Some(plain) = plain_field(&mut rest) {
                let field = fields.next().unwrap().unwrap();
                prop_assert_eq!(plain, (field.number, field.value));
                prop_assert_eq!(message.len() - rest.len(), field.place.end);
            }
        }

        #[test]
        fn fields_lie_side_by_side(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut end = 0;
            for field in FieldReader::new(&message).flatten() {
                prop_assert_eq!(field.place.start, end);
                end = field.place.end;
            }
        }
    }
}
