//! Small values that have one form on the wire and another in the model.

use super::ensign;
use crate::model::{Schema, Time};

impl From<Time> for prost_types::Timestamp {
    fn from(time: Time) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: time.seconds(), nanos: time.subsecond_nanos() }
    }
}

/// A timestamp outside of the years that the model covers becomes the nearest time in them.
impl From<prost_types::Timestamp> for Time {
    fn from(timestamp: prost_types::Timestamp) -> Time {
        Time::from_parts(timestamp.seconds, timestamp.nanos)
    }
}

impl From<Schema> for ensign::Type {
    fn from(schema: Schema) -> ensign::Type {
        ensign::Type {
            name: schema.name,
            major_version: schema.major,
            minor_version: schema.minor,
            patch_version: schema.patch,
        }
    }
}

/// The type as it stands, also where it says nothing.
impl From<ensign::Type> for Schema {
    fn from(encoded: ensign::Type) -> Schema {
        Schema {
            name: encoded.name,
            major: encoded.major_version,
            minor: encoded.minor_version,
            patch: encoded.patch_version,
        }
    }
}
