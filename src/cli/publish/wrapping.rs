//! What the events of an input have around their data: an envelope, or one that encrypts.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::input::{Origin, Recipe};
use crate::{
    cli::record::Record,
    client::{Draft, Encryption, Envelope, SealedEnvelope, Sealer},
    ensql::CSV_HEADER_NAME,
    model::{Mimetype, Schema, Time},
};

/// What many events have in common. Drafts are made by it, so that none is sent in the clear that was to be encrypted.
#[derive(Debug)]
pub(super) enum Wrapping {
    Plain(Arc<Envelope>),
    Sealed(SealedEnvelope),
}

impl Wrapping {
    pub(super) fn new(
        sealer: Option<&Sealer>,
        mimetype: Mimetype,
        schema: Option<&Schema>,
        metadata: BTreeMap<String, String>,
        key: Bytes,
    ) -> Wrapping {
        match sealer {
            None => Wrapping::Plain(Arc::new(Envelope::new(mimetype, schema, metadata, key))),
            Some(sealer) => Wrapping::Sealed(sealer.envelope(mimetype, schema, metadata, key)),
        }
    }

    /// An event with this data; or why it can't be one.
    pub(super) fn draft(&self, data: Bytes, created: Option<Time>, origin: Origin) -> Result<Draft, String> {
        let tag = origin.tag();
        match self {
            Wrapping::Plain(envelope) => Ok(Draft { data, envelope: envelope.clone(), created, tag }),
            Wrapping::Sealed(envelope) => envelope.draft(&data, created, tag).map_err(|error| error.to_string()),
        }
    }
}

/// A record as the event that it describes; what the command line says goes first. What is encrypted already stays as it
/// is.
pub(super) fn draft_of_record(recipe: &Recipe, record: Record, origin: Origin) -> Result<Draft, String> {
    if record.encryption.as_ref().is_some_and(Encryption::is_encrypted) {
        return encrypted_draft(recipe, record, origin);
    }
    if recipe.sealer.is_some() && record.encryption.is_some() {
        return Err("it is signed or sealed in another way, which --encrypt would undo".to_owned());
    }
    let mut metadata = record.metadata;
    metadata.extend(said_metadata(recipe).map(|(name, value)| (name.clone(), value.clone())));
    let mimetype = recipe.mimetype.unwrap_or(record.mimetype);
    let schema = recipe.schema.as_ref().or(record.schema.as_ref());
    let key = recipe.key.clone().unwrap_or(record.key);
    if let Some(encryption) = &record.encryption {
        let envelope = Arc::new(Envelope::new(mimetype, schema, metadata, key).encrypted(encryption));
        return Ok(Draft { data: record.data, envelope, created: record.created, tag: origin.tag() });
    }
    Wrapping::new(recipe.sealer.as_ref(), mimetype, schema, metadata, key).draft(record.data, record.created, origin)
}

/// What was encrypted is authenticated together with its data, so a change would make it unreadable.
fn encrypted_draft(recipe: &Recipe, record: Record, origin: Origin) -> Result<Draft, String> {
    let said = [
        ("--mimetype", recipe.mimetype.is_some()),
        ("--type", recipe.schema.is_some()),
        ("--key", recipe.key.is_some()),
        ("--meta", said_metadata(recipe).next().is_some()),
    ];
    if let Some((flag, _)) = said.into_iter().find(|(_, said)| *said) {
        return Err(format!("it is encrypted, and {flag} would make it unreadable"));
    }
    let envelope = Arc::new(record.envelope());
    Ok(Draft { data: record.data, envelope, created: record.created, tag: origin.tag() })
}

/// The metadata of the command line, without what was read from the input.
fn said_metadata(recipe: &Recipe) -> impl Iterator<Item = (&String, &String)> {
    recipe.metadata.iter().filter(|(name, _)| *name != CSV_HEADER_NAME)
}
