//! The wire: messages and service of the Ensign API as generated from `proto/`, what turns them into the nouns of
//! `model` and back, and the path of an event in and out.
//!
//! An event is not decoded into a message on its way. What a publisher sends is cut out of gRPC's frames
//! ([`FrameReader`]), looked at ([`parse_publisher_request`], [`inspect_event`]) and stored as a *record*
//! ([`IncomingEvent::write_record`]); what a subscriber gets is the record with an [`Envelope`] behind it
//! ([`write_subscribe_reply`]). A client writes its events with [`OutgoingEvent`], and looks at what it is answered and
//! delivered with [`parse_publisher_reply`] and [`parse_subscribe_reply`]. What becomes of an event in a consumer group is said
//! with [`write_event_ack`] and read with [`parse_subscribe_request`]. Nothing is allocated per event.
//!
//! This is the only place that knows both the wire and the model. Nothing here is async, and nothing decides anything:
//! what a message means is the server's business.

mod codec;
mod convert;
mod delivery;
mod event;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod generated;
mod outgoing;
mod protobuf;
mod record;
mod reply;
mod settling;
mod stored;
mod topic;
mod view;

pub use codec::RawCodec;
pub use delivery::{
    DeliveredEvent, EventParts, PublisherAnswer, SubscriberMessage, answered_row, event_parts, parse_publisher_reply,
    parse_subscribe_reply,
};
pub use event::{EventError, EventFacts, inspect_event, schema};
pub use frame::{FRAME_HEAD_BYTES, Frame, FrameError, FrameReader};
pub use outgoing::OutgoingEvent;
pub use protobuf::WireError;
pub use record::{IncomingEvent, PublisherMessage, parse_publisher_request};
pub use reply::{
    Envelope, encode_publisher, frame, wrapper_bytes, write_acks, write_message, write_nack, write_row_frame,
    write_row_record, write_subscribe_reply, write_wrapper_frame,
};
pub use settling::{
    GroupReceipt, SubscriberRequest, parse_receipt, parse_subscribe_request, write_event_ack, write_event_nack,
    write_receipts,
};
pub use stored::{annotate_record, record_key};
pub use topic::{UnknownPolicy, encode_topic, encode_topics_page, split_topic};
pub use view::{EventView, view_record};

/// Package `ensign.v1beta1`: the service with its client and server, and every message of it.
pub use generated::ensign::v1beta1 as ensign;
/// Package `mimetype.v1beta1`: how the data of an event is encoded.
pub use generated::mimetype::v1beta1 as mimetype;
/// Package `region.v1beta1`: where something is.
pub use generated::region::v1beta1 as region;

/// The header of a reply to Status that says what an ack means: the name of a [`Durability`](crate::model::Durability). The message has
/// no field for it, and a header disturbs nobody who does not know it.
pub const DURABILITY_HEADER: &str = "ensign-durability";

/// The descriptors of all of these files and of what they import, as an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");

#[cfg(test)]
mod tests;
