//! Parts of an event as they are written on a command line: a media type, and an entry of the metadata.

use std::str::FromStr;

use crate::model::Mimetype;

/// `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MimetypeArg(pub(super) Mimetype);

impl FromStr for MimetypeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<MimetypeArg, String> {
        Mimetype::parse(text).map(MimetypeArg).map_err(|error| error.to_string())
    }
}

/// `source=bts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetaArg {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for MetaArg {
    type Err = String;

    fn from_str(text: &str) -> Result<MetaArg, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(MetaArg { name: name.to_owned(), value: value.to_owned() }),
            _ => Err("write it as NAME=VALUE".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!("text/plain".parse(), Ok(MimetypeArg(Mimetype::TEXT_PLAIN)));
        assert!("text/nothing".parse::<MimetypeArg>().is_err());
        let meta = |name: &str, value: &str| Ok(MetaArg { name: name.to_owned(), value: value.to_owned() });
        assert_eq!("a=b=c".parse(), meta("a", "b=c"));
        assert_eq!("a=".parse(), meta("a", ""));
        assert!("=b".parse::<MetaArg>().is_err());
        assert!("a".parse::<MetaArg>().is_err());
    }
}
