//! Identifiers, times and secrets as the REST API writes and reads them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use utoipa::ToSchema;

use crate::model::{Secret, Time, Ulid};

/// What stands for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An identifier of 26 characters. None is all zeros; an empty text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = String, format = "ulid", examples("01ARYZ6S41041061050R3GG28A"))]
pub(super) struct WireId(pub(super) Ulid);

impl WireId {
    /// The identifier, if it says one.
    pub(super) fn known(self) -> Option<Ulid> {
        Some(self.0).filter(|id| !id.is_zero())
    }
}

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireId, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ulid::parse_lenient(&text).map(WireId).map_err(D::Error::custom)
    }
}

/// A time, to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub(super) struct WireTime(pub(super) Option<Time>);

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => serializer.collect_str(&time),
            None => serializer.serialize_str(NEVER),
        }
    }
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            NEVER => Ok(WireTime(None)),
            text => Time::parse(text).map(|time| WireTime(Some(time))).map_err(D::Error::custom),
        }
    }
}

impl From<Time> for WireTime {
    fn from(time: Time) -> WireTime {
        WireTime(Some(time))
    }
}

/// A password, a client secret or a token, on its way in.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, format = Password)]
pub(super) struct WireSecret(pub(super) Secret);

impl Default for WireSecret {
    fn default() -> WireSecret {
        WireSecret(Secret::new(""))
    }
}

impl<'de> Deserialize<'de> for WireSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireSecret, D::Error> {
        String::deserialize(deserializer).map(|text| WireSecret(Secret::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn identifiers_and_times() {
        let id = |text: &str| from_value::<WireId>(json!(text)).ok();
        let known = Ulid::parse("01ARYZ6S41041061050R3GG28A").unwrap();
        assert_eq!(id("01ARYZ6S41041061050R3GG28A"), Some(WireId(known)));
        assert_eq!(id("01aryz6s41041061050r3gg28a"), Some(WireId(known)));
        assert_eq!(id("00000000000000000000000000").and_then(WireId::known), None);
        assert_eq!((id(""), id("garbage")), (None, None));
        assert_eq!(to_value(WireId::default()).unwrap(), json!("00000000000000000000000000"));

        assert_eq!(to_value(WireTime(None)).unwrap(), json!(NEVER));
        assert_eq!(from_value::<WireTime>(json!(NEVER)).unwrap(), WireTime(None));
        let time = WireTime::from(Time::from_millis(1_795_000_000_500));
        assert_eq!(to_value(time).unwrap(), json!("2026-11-18T11:06:40.5Z"));
        assert_eq!(from_value::<WireTime>(to_value(time).unwrap()).unwrap(), time);
    }
}
