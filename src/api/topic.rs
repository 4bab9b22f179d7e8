//! Topics and their policies, between the wire and the model.

use bytes::Bytes;
use prost::Message;

use super::{
    ensign,
    protobuf::{FieldReader, WireError, put_delimited},
};
use crate::model::{Deduplication, OffsetPolicy, Strategy, Topic};

/// Field `topics` of a `TopicsPage`, as a key.
const PAGE_TOPICS: u8 = 0x0a;

/// Decodes a `Topic` that a client sent. The second part is what its record keeps as [`Topic::extra`]: the encoded
/// fields that the broker gives no meaning to (`offset`, `shards`, `placements`, `types`, and what this version does
/// not know).
///
/// # Errors
///
/// When the message is not a valid one.
pub fn split_topic(message: &[u8]) -> Result<(ensign::Topic, Vec<u8>), WireError> {
    let topic = ensign::Topic::decode(message).map_err(WireError::Undecodable)?;
    let mut extra = Vec::new();
    for field in FieldReader::new(message) {
        let field = field?;
        if !matches!(field.number, 1 | 2 | 3 | 4 | 7 | 11 | 14 | 15) {
            extra.extend_from_slice(&message[field.place]);
        }
    }
    Ok((topic, extra))
}

/// Encodes a `Topic` as clients get it, with everything its creator sent along.
pub fn encode_topic(topic: &Topic) -> Vec<u8> {
    let mut message = known_fields(topic).encode_to_vec();
    message.extend_from_slice(&topic.extra);
    message
}

/// Encodes a `TopicsPage`.
pub fn encode_topics_page<'a>(topics: impl IntoIterator<Item = &'a Topic>, next_page_token: &str) -> Vec<u8> {
    let mut page = Vec::new();
    for topic in topics {
        put_delimited(&mut page, PAGE_TOPICS, &encode_topic(topic));
    }
    let rest = ensign::TopicsPage { topics: Vec::new(), next_page_token: next_page_token.to_owned() };
    rest.encode(&mut page).expect("a vector grows as needed");
    page
}

/// The fields of a topic that the broker gives a meaning to.
fn known_fields(topic: &Topic) -> ensign::Topic {
    ensign::Topic {
        id: Bytes::copy_from_slice(topic.id.as_bytes()),
        project_id: Bytes::copy_from_slice(topic.project.as_bytes()),
        name: topic.name.to_string(),
        readonly: topic.readonly,
        status: topic.state.number(),
        deduplication: Some(topic.deduplication.clone().into()),
        created: Some(topic.created.into()),
        modified: Some(topic.modified.into()),
        ..ensign::Topic::default()
    }
}

impl From<Deduplication> for ensign::Deduplication {
    fn from(policy: Deduplication) -> ensign::Deduplication {
        ensign::Deduplication {
            strategy: policy.strategy.number(),
            offset: policy.offset.number(),
            keys: policy.keys,
            fields: policy.fields,
            overwrite_duplicate: policy.overwrite_duplicate,
        }
    }
}

/// A policy names something that this version has no name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPolicy {
    #[error("unknown deduplication strategy {number}")]
    Strategy { number: i32 },
    #[error("unknown deduplication offset {number}")]
    Offset { number: i32 },
}

/// Takes the policy as it stands; it is neither normalized nor validated.
impl TryFrom<ensign::Deduplication> for Deduplication {
    type Error = UnknownPolicy;

    fn try_from(policy: ensign::Deduplication) -> Result<Deduplication, UnknownPolicy> {
        Ok(Deduplication {
            strategy: Strategy::from_number(policy.strategy)
                .ok_or(UnknownPolicy::Strategy { number: policy.strategy })?,
            offset: OffsetPolicy::from_number(policy.offset).ok_or(UnknownPolicy::Offset { number: policy.offset })?,
            keys: policy.keys,
            fields: policy.fields,
            overwrite_duplicate: policy.overwrite_duplicate,
        })
    }
}
