//! What a member of a consumer group says of events, and what it is answered.
//!
//! A member says with one message for each event that the event is settled, or why it is not; messages as encoders write
//! them are read where they lie. The answer is a *receipt*: which of the acks count and which are refused. The published
//! protocol has no message for it, so it is a `SubscribeReply` with a field that no other client knows, sent to those alone
//! who ask for it:
//!
//! ```proto
//! message GroupReceipt {            // field 100 of a SubscribeReply
//!     repeated bytes acked = 1;     // RLIDs of events whose acks count, for good
//!     repeated bytes refused = 2;   // RLIDs of events whose acks came too late
//! }
//! ```

use prost::Message;

use super::{
    delivery::plain_timestamp,
    ensign::SubscribeRequest,
    frame::put_frame_head,
    protobuf::{
        FieldReader, Value, WireError, delimited_bytes, int32, plain_field, put_delimited, put_varint, sole_member,
        varint_bytes,
    },
};
use crate::model::{NackCode, Rlid};

/// Keys of the members of a `SubscribeRequest`, and of the fields in them.
const REQUEST_ACK: u8 = 0x0a;
const REQUEST_NACK: u8 = 0x12;
const ID: u8 = 0x0a;
const CODE: u8 = 0x10;

/// The number of the field in a `SubscribeReply` that holds a receipt, and its key.
const RECEIPT_NUMBER: u32 = 100;
const RECEIPT: [u8; 2] = [0xa2, 0x06];
const ACKED: u8 = 0x0a;
const REFUSED: u8 = 0x12;

const ID_BYTES: usize = 2 + 10;

/// How many identifiers one receipt holds; what is more goes into another message.
const RECEIPT_IDS_MAX: usize = 4_096;

/// What a subscriber says after it has subscribed.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriberRequest<'a> {
    /// The event with this identifier is settled.
    Ack(&'a [u8]),
    /// The event with this identifier is not, for the reason with this number.
    Nack(&'a [u8], i32),
    Other(Box<SubscribeRequest>),
}

/// Reads an encoded `SubscribeRequest`.
///
/// # Errors
///
/// When it is not a valid one.
#[inline]
pub fn parse_subscribe_request(message: &[u8]) -> Result<SubscriberRequest<'_>, WireError> {
    if let Some(id) = sole_member(message, REQUEST_ACK).and_then(plain_ack) {
        return Ok(SubscriberRequest::Ack(id));
    }
    if let Some((id, code)) = sole_member(message, REQUEST_NACK).and_then(plain_nack) {
        return Ok(SubscriberRequest::Nack(id, code));
    }
    let request = SubscribeRequest::decode(message).map_err(WireError::Undecodable)?;
    Ok(SubscriberRequest::Other(Box::new(request)))
}

/// The identifier of an ack that has nothing unusual about it.
#[inline]
fn plain_ack(ack: &[u8]) -> Option<&[u8]> {
    let mut id = &ack[..0];
    let mut rest = ack;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(bytes)) => id = bytes,
            (2, Value::Delimited(timestamp)) => drop(plain_timestamp(timestamp)?),
            _ => return None,
        }
    }
    Some(id)
}

#[inline]
fn plain_nack(nack: &[u8]) -> Option<(&[u8], i32)> {
    let (mut id, mut code) = (&nack[..0], 0);
    let mut rest = nack;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(bytes)) => id = bytes,
            (2, Value::Varint(number)) => code = int32(number),
            (3, Value::Delimited(text)) if std::str::from_utf8(text).is_ok() => {}
            _ => return None,
        }
    }
    Some((id, code))
}

/// Appends the frame of a `SubscribeRequest` by which a subscriber acks an event.
#[inline]
pub fn write_event_ack(out: &mut Vec<u8>, id: Rlid) {
    put_frame_head(out, 1 + delimited_bytes(ID_BYTES));
    out.push(REQUEST_ACK);
    put_varint(out, ID_BYTES as u64);
    put_delimited(out, ID, id.as_bytes());
}

/// Appends the frame of a `SubscribeRequest` by which a subscriber refuses an event.
#[inline]
pub fn write_event_nack(out: &mut Vec<u8>, id: Rlid, code: NackCode) {
    let code = u64::try_from(code.number()).expect("no code is negative");
    // The number zero is not written.
    let code_bytes = if code == 0 { 0 } else { 1 + varint_bytes(code) };
    put_frame_head(out, 1 + delimited_bytes(ID_BYTES + code_bytes));
    out.push(REQUEST_NACK);
    put_varint(out, (ID_BYTES + code_bytes) as u64);
    put_delimited(out, ID, id.as_bytes());
    if code != 0 {
        out.push(CODE);
        put_varint(out, code);
    }
}

/// What became of acks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupReceipt {
    /// The events whose acks count.
    pub acked: Vec<Rlid>,
    /// The events whose acks don't.
    pub refused: Vec<Rlid>,
}

/// Appends the frames of `SubscribeReply`s with receipts: none when there is nothing to say, several when there is much.
pub fn write_receipts(out: &mut Vec<u8>, acked: &[Rlid], refused: &[Rlid]) {
    for ids in acked.chunks(RECEIPT_IDS_MAX) {
        write_receipt(out, ACKED, ids);
    }
    for ids in refused.chunks(RECEIPT_IDS_MAX) {
        write_receipt(out, REFUSED, ids);
    }
}

fn write_receipt(out: &mut Vec<u8>, key: u8, ids: &[Rlid]) {
    let receipt_bytes = ids.len() * ID_BYTES;
    put_frame_head(out, RECEIPT.len() + delimited_bytes(receipt_bytes));
    out.extend_from_slice(&RECEIPT);
    put_varint(out, receipt_bytes as u64);
    for id in ids {
        put_delimited(out, key, id.as_bytes());
    }
}

/// The receipt in an encoded `SubscribeReply`; `None` when it is about something else.
///
/// # Errors
///
/// When it is not a valid one.
pub fn parse_receipt(message: &[u8]) -> Result<Option<GroupReceipt>, WireError> {
    let mut receipt: Option<GroupReceipt> = None;
    for field in FieldReader::new(message) {
        let field = field?;
        if field.number == RECEIPT_NUMBER {
            receipt.get_or_insert_default().read(field.delimited()?)?;
        }
    }
    Ok(receipt)
}

impl GroupReceipt {
    /// Adds what an encoded receipt says.
    fn read(&mut self, encoded: &[u8]) -> Result<(), WireError> {
        for field in FieldReader::nested(encoded, 1) {
            let field = field?;
            let ids = match field.number {
                1 => &mut self.acked,
                2 => &mut self.refused,
                _ => continue,
            };
            let id = Rlid::from_slice(field.delimited()?);
            ids.push(id.map_err(|_| WireError::InvalidIdentifier { number: field.number })?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::api::{
        FrameReader,
        ensign::{Ack, Nack, SubscribeReply, Subscription, subscribe_request::Embed},
        fuzzing::{fuzz_receipt, fuzz_subscribe_request},
        tests::{bytes_of, damaged, timestamps, unknown_fields},
    };

    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let ack = (bytes_of(0..20), prop::option::of(timestamps()))
            .prop_map(|(id, committed)| Embed::Ack(Ack { id, committed }));
        let nack = (bytes_of(0..20), -2..110_i32, ".{0,5}")
            .prop_map(|(id, code, error)| Embed::Nack(Nack { id, code, error }));
        let subscription =
            ".{0,5}".prop_map(|client_id| Embed::Subscription(Subscription { client_id, ..Subscription::default() }));
        (prop_oneof![4 => ack, 4 => nack, 1 => subscription], unknown_fields(), any::<bool>()).prop_map(
            |(embed, unknown, twice)| {
                let message = SubscribeRequest { embed: Some(embed) }.encode_to_vec();
                let again = if twice { message.clone() } else { Vec::new() };
                [message, unknown, again].concat()
            },
        )
    }

    fn ids() -> impl Strategy<Value = Vec<Rlid>> {
        prop::collection::vec(any::<[u8; 10]>().prop_map(Rlid::from_bytes), 0..8)
    }

    /// The messages in a body.
    fn messages(body: Vec<u8>) -> Vec<Vec<u8>> {
        let mut reader = FrameReader::default();
        reader.feed(body.into());
        let mut messages = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            messages.push(frame.body.to_vec());
        }
        reader.finish().unwrap();
        messages
    }

    #[test]
    fn verdicts_are_written_as_an_encoder_does_and_not_left_to_the_decoder() {
        let id = Rlid::from_parts(1_790_000_000_123, 7);
        let mut body = Vec::new();
        write_event_ack(&mut body, id);
        for code in NackCode::ALL {
            write_event_nack(&mut body, id, code);
        }
        let messages = messages(body);
        let wire = Bytes::copy_from_slice(id.as_bytes());
        let ack = Embed::Ack(Ack { id: wire.clone(), committed: None });
        assert_eq!(messages[0], SubscribeRequest { embed: Some(ack) }.encode_to_vec());
        assert_eq!(parse_subscribe_request(&messages[0]), Ok(SubscriberRequest::Ack(&wire)));
        assert_eq!(messages.len(), 1 + NackCode::ALL.len());
        for (message, code) in messages[1..].iter().zip(NackCode::ALL) {
            let nack = Embed::Nack(Nack { id: wire.clone(), code: code.number(), error: String::new() });
            assert_eq!(*message, SubscribeRequest { embed: Some(nack) }.encode_to_vec());
            assert_eq!(parse_subscribe_request(message), Ok(SubscriberRequest::Nack(&wire, code.number())));
        }
    }

    #[test]
    fn long_receipts_are_several_messages_and_empty_ones_are_none() {
        let ids: Vec<Rlid> = (0..=2 * RECEIPT_IDS_MAX as u64).map(|number| Rlid::NULL.plus(number)).collect();
        let mut body = Vec::new();
        write_receipts(&mut body, &ids, &[]);
        write_receipts(&mut body, &[], &ids[..5]);
        write_receipts(&mut body, &[], &[]);
        let receipts = messages(body).into_iter().map(|message| parse_receipt(&message).unwrap().unwrap());
        let receipts: Vec<GroupReceipt> = receipts.collect();
        assert_eq!(receipts.len(), 4);
        assert_eq!(receipts.iter().flat_map(|receipt| receipt.acked.clone()).collect::<Vec<_>>(), ids);
        assert_eq!(receipts[3], GroupReceipt { acked: Vec::new(), refused: ids[..5].to_vec() });
    }

    proptest! {
        #[test]
        fn requests_mean_what_the_decoder_says(message in requests().prop_flat_map(damaged)) {
            fuzz_subscribe_request(&message);
        }

        /// Small numbers, so that many of them are keys and lengths that fit.
        #[test]
        fn arbitrary_bytes_mean_what_the_decoder_says(message in prop::collection::vec(0_u8..40, 0..30)) {
            fuzz_subscribe_request(&message);
        }

        /// A receipt reads back, and is a reply that says nothing to whoever does not know it.
        #[test]
        fn receipts_read_back(acked in ids(), refused in ids()) {
            let mut body = Vec::new();
            write_receipts(&mut body, &acked, &refused);
            let mut read = GroupReceipt::default();
            for message in messages(body) {
                prop_assert_eq!(SubscribeReply::decode(&message[..]), Ok(SubscribeReply { embed: None }));
                let receipt = parse_receipt(&message).unwrap().unwrap();
                read.acked.extend(receipt.acked);
                read.refused.extend(receipt.refused);
            }
            prop_assert_eq!(read, GroupReceipt { acked, refused });
        }

        #[test]
        fn damaged_receipts_are_refused_or_read(
            message in (ids(), ids(), unknown_fields())
                .prop_map(|(acked, refused, unknown)| {
                    let mut body = Vec::new();
                    write_receipts(&mut body, &acked, &refused);
                    [messages(body).concat(), unknown].concat()
                })
                .prop_flat_map(damaged),
        ) {
            fuzz_receipt(&message);
        }
    }
}
