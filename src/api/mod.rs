//! The wire: messages and service of the Ensign API as generated from `proto/`, and what turns them into the nouns of
//! `model` and back.
//!
//! This is the only place that knows both sides. Nothing here is async, and nothing decides anything: what a message
//! means is the server's business.

mod generated;

/// Package `ensign.v1beta1`: the service with its client and server, and every message of it.
pub use generated::ensign::v1beta1 as ensign;
/// Package `mimetype.v1beta1`: how the data of an event is encoded.
pub use generated::mimetype::v1beta1 as mimetype;
/// Package `region.v1beta1`: where something is.
pub use generated::region::v1beta1 as region;

/// The descriptors of all of these files and of what they import, as an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");
