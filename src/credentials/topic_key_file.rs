//! The form in which topic keys go from one machine to another: a line of JSON for each key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::{Secret, TopicId, TopicKey, Ulid};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ensign_topic_key: u32,
    id: String,
    topic: String,
    topic_id: String,
    secret: Zeroizing<String>,
}

/// A topic key, and what its topic is called.
#[derive(Debug, Clone)]
pub struct ExportedTopicKey {
    pub topic_name: String,
    pub key: TopicKey,
}

/// The text was not made by exporting topic keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no topic key: {what}")]
pub struct ParseTopicKeysError {
    line: usize,
    what: String,
}

/// Writes keys as the text of a file, which is as secret as they are.
pub fn write_topic_keys(keys: &[ExportedTopicKey]) -> Secret {
    let mut text = Zeroizing::new(Vec::new());
    for ExportedTopicKey { topic_name, key } in keys {
        let line = Line {
            ensign_topic_key: VERSION,
            id: key.id().to_string(),
            topic: topic_name.clone(),
            topic_id: key.topic().to_string(),
            secret: Zeroizing::new(STANDARD.encode(key.secret().expose())),
        };
        text.extend_from_slice(&Zeroizing::new(serde_json::to_vec(&line).expect("texts can be written as JSON")));
        text.push(b'\n');
    }
    Secret::new(text.as_slice())
}

/// Reads the text of a file; one without a key is refused.
pub fn parse_topic_keys(text: &Secret) -> Result<Vec<ExportedTopicKey>, ParseTopicKeysError> {
    let lines = text.expose().split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let read = |(number, line): (usize, &[u8])| {
        parse_line(line).map_err(|what| ParseTopicKeysError { line: number + 1, what })
    };
    let keys = lines.map(read).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(ParseTopicKeysError { line: 1, what: "there is nothing in it".to_owned() });
    }
    Ok(keys)
}

fn parse_line(line: &[u8]) -> Result<ExportedTopicKey, String> {
    // What the parser says can hold a part of the line, which is secret.
    let line: Line = serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "a field is missing, unknown, or has another form".to_owned(),
        _ => "it is not JSON".to_owned(),
    })?;
    if line.ensign_topic_key != VERSION {
        return Err(format!("version {} is unknown", line.ensign_topic_key));
    }
    let id = line.id.parse().map_err(|_| "its id is none".to_owned())?;
    let topic = Ulid::parse(&line.topic_id).map_err(|error| format!("topic_id: {error}"))?;
    let bytes = STANDARD.decode(line.secret.as_bytes()).map_err(|_| "its secret is not base 64".to_owned())?;
    let key = TopicKey::new(id, TopicId(topic), Secret::new(bytes));
    let key = key.ok_or_else(|| format!("its secret does not have {} bytes", TopicKey::BYTES))?;
    Ok(ExportedTopicKey { topic_name: line.topic, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicKeyId;

    fn key(version: u32) -> ExportedTopicKey {
        let id = TopicKeyId { ulid: Ulid::from_bytes([7; 16]), version };
        let key = TopicKey::new(id, TopicId(Ulid::from_bytes([8; 16])), Secret::new([9; 32])).unwrap();
        ExportedTopicKey { topic_name: "a \"b\"".to_owned(), key }
    }

    #[test]
    fn keys_read_back() {
        let text = write_topic_keys(&[key(1), key(2)]);
        let read = parse_topic_keys(&text).unwrap();
        assert_eq!(read.len(), 2);
        for (read, expected) in read.iter().zip([key(1), key(2)]) {
            assert_eq!(read.topic_name, expected.topic_name);
            assert_eq!((read.key.id(), read.key.topic()), (expected.key.id(), expected.key.topic()));
            assert_eq!(read.key.secret().expose(), [9; 32]);
        }
    }

    #[test]
    fn what_is_no_key_is_named_without_what_it_holds() {
        let text = write_topic_keys(&[key(1)]).expose_str().unwrap().to_owned();
        let secret = STANDARD.encode([9; 32]);
        let check = |text: &str, expected: &str| {
            let error = parse_topic_keys(&Secret::new(text)).unwrap_err().to_string();
            assert_eq!(error, expected);
            assert!(!error.contains(&secret[..8]));
        };
        check("", "line 1 is no topic key: there is nothing in it");
        check(&format!("\n{secret}"), "line 2 is no topic key: it is not JSON");
        check(
            &format!("{text}\"{secret}\""),
            "line 2 is no topic key: a field is missing, unknown, or has another form",
        );
        let changed = |from: &str, to: &str| text.replace(from, to);
        check(&changed("_key\":1", "_key\":2"), "line 1 is no topic key: version 2 is unknown");
        check(&changed(".1\"", "\""), "line 1 is no topic key: its id is none");
        check(&changed(&secret, "!"), "line 1 is no topic key: its secret is not base 64");
        check(&changed(&secret, "AAAA"), "line 1 is no topic key: its secret does not have 32 bytes");
    }
}
