//! A stored event as a row: `_offset`, and the fields of its data.
//!
//! The members of a JSON object stand as they were written. Of what is no JSON object there is one field, `data`, by the rules of a
//! record: other JSON stands verbatim, text as a text, everything else in base 64, for which there is `encoding`.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::fields::fields;
use crate::{
    cli::human,
    client::Event,
    model::{Mimetype, Offset},
};

/// The name of the column with the offset.
const OFFSET: &str = "_offset";

const JSON_LD: Mimetype = Mimetype(51);

/// Appends an event as a JSON object in one line. For people, what they can't read is described.
pub(super) fn write(event: &Event, for_people: bool, line: &mut Vec<u8>) {
    put_offset(event.offset, line);
    if event.is_encrypted() && for_people {
        let key = event.encryption.as_ref().map_or("", |encryption| &encryption.public_key_id);
        put_data(&format!("[encrypted, key {key}]"), line);
    } else if event.is_encrypted() {
        put_base64(&event.data, line);
    } else if !put_json(event, line) {
        match std::str::from_utf8(&event.data) {
            Ok(text) => put_data(text, line),
            Err(_) if for_people => {
                put_data(&format!("({} of {})", human::bytes(event.data.len() as u64), event.mimetype), line);
            }
            Err(_) => put_base64(&event.data, line),
        }
    }
    line.push(b'}');
}

fn put_offset(offset: Offset, line: &mut Vec<u8>) {
    write!(line, "{{\"{OFFSET}\":{offset}").expect("memory takes everything");
}

/// Appends the data when it is JSON that everybody can read, or says that it is not.
///
/// What a row becomes later, a table or YAML, takes less than there can be in what looks like JSON: neither half a surrogate nor a
/// number without end, and values within values only up to some depth. Such data is a text.
fn put_json(event: &Event, line: &mut Vec<u8>) -> bool {
    if !matches!(event.mimetype, Mimetype::JSON | JSON_LD) {
        return false;
    }
    let Ok(value) = serde_json::from_slice::<Value>(&event.data) else { return false };
    let data = event.data.trim_ascii();
    let Some(members) = data.strip_prefix(b"{") else {
        return put_deeper(data, line);
    };
    if members.trim_ascii_start() == b"}" {
        return true;
    }
    if value.get(OFFSET).is_none() {
        line.push(b',');
        put_on_one_line(&members[..members.len() - 1], line);
        return true;
    }
    let Some(members) = fields(data) else { return false };
    for (name, value) in members {
        line.push(b',');
        // In double quotes, as it is in a query, it is the data's own.
        let own = format!("\"{OFFSET}\"");
        let name = if name == OFFSET { &own } else { &*name };
        serde_json::to_writer(&mut *line, name).expect("text can be written to memory");
        line.push(b':');
        put_on_one_line(value.get().as_bytes(), line);
    }
    true
}

/// Appends JSON that is no object, unless it is one level deeper in a row than can be read.
fn put_deeper(json: &[u8], line: &mut Vec<u8>) -> bool {
    let start = line.len();
    line.extend_from_slice(b",\"data\":");
    put_on_one_line(json, line);
    line.push(b'}');
    let is_readable = serde_json::from_slice::<Value>(line).is_ok();
    line.truncate(if is_readable { line.len() - 1 } else { start });
    is_readable
}

/// Appends JSON without ends of lines. Between JSON's signs they mean what spaces do, and nowhere else can they be.
pub(super) fn put_on_one_line(json: &[u8], line: &mut Vec<u8>) {
    line.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
}

fn put_data(text: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"data\":");
    serde_json::to_writer(line, text).expect("text can be written to memory");
}

fn put_base64(data: &[u8], line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"encoding\":\"base64\"");
    put_data(&STANDARD.encode(data), line);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Rlid, TopicId};

    fn event(data: &[u8], mimetype: Mimetype) -> Event {
        Event {
            topic: TopicId::default(),
            offset: Offset::new(7),
            id: Rlid::from_parts(1, 5),
            committed: None,
            created: None,
            mimetype,
            schema: None,
            metadata: BTreeMap::new(),
            key: Bytes::new(),
            data: Bytes::copy_from_slice(data),
            encryption: None,
            publisher: None,
        }
    }

    fn line(event: &Event, for_people: bool) -> String {
        let mut line = Vec::new();
        write(event, for_people, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn rows_of_events() {
        let check = |data: &[u8], mimetype, expected: &str| {
            assert_eq!(line(&event(data, mimetype), false), expected);
        };
        check(br#"{"a": 1.50,"b":"x"}"#, Mimetype::JSON, r#"{"_offset":7,"a": 1.50,"b":"x"}"#);
        check(b" {\n \"a\":[1,\r\n2] }\n", Mimetype::JSON, "{\"_offset\":7,  \"a\":[1,  2] }");
        check(b"{ }", Mimetype::JSON, r#"{"_offset":7}"#);
        check(b"[1]", JSON_LD, r#"{"_offset":7,"data":[1]}"#);
        check(b"12", Mimetype::JSON, r#"{"_offset":7,"data":12}"#);
        check(b"{", Mimetype::JSON, r#"{"_offset":7,"data":"{"}"#);
        check(b"{}", Mimetype::TEXT_PLAIN, r#"{"_offset":7,"data":"{}"}"#);
        check(b"\xff", Mimetype::JSON, r#"{"_offset":7,"encoding":"base64","data":"/w=="}"#);
        check(br#"{"_offset":1,"b":2}"#, Mimetype::JSON, r#"{"_offset":7,"\"_offset\"":1,"b":2}"#);
        check(br#"{"\u005foffset":1}"#, Mimetype::JSON, r#"{"_offset":7,"\"_offset\"":1}"#);
        check(br#"{"b":"_offset"}"#, Mimetype::JSON, r#"{"_offset":7,"b":"_offset"}"#);
    }

    #[test]
    fn json_that_not_everybody_can_read_is_a_text() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let odd = [
            r#"{"\ud800":1}"#,
            r#"{"_offset":1,"\ud800":2}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":1e999}"#,
            "1e999",
            &deep(127),
        ];
        for data in odd {
            let row = line(&event(data.as_bytes(), Mimetype::JSON), false);
            let row: Value = serde_json::from_str(&row).unwrap();
            assert_eq!(row, serde_json::json!({ "_offset": 7, "data": data }));
        }
        let data = deep(126);
        assert_eq!(line(&event(data.as_bytes(), Mimetype::JSON), false), format!(r#"{{"_offset":7,"data":{data}}}"#));
    }

    #[test]
    fn what_people_can_not_read_is_described() {
        let described = line(&event(b"\xff\xfe", Mimetype::OCTET_STREAM), true);
        assert_eq!(described, r#"{"_offset":7,"data":"(2 B of application/octet-stream)"}"#);
    }

    proptest! {
        /// Whatever an event holds becomes an object in one line, and JSON keeps its members.
        #[test]
        fn every_event_is_a_row(
            names in prop::collection::btree_map("[a-c_]{1,3}|_offset", any::<i32>(), 0..4),
            pretty in any::<bool>(),
            cut in 0..200_usize,
        ) {
            let text = if pretty { serde_json::to_vec_pretty(&names) } else { serde_json::to_vec(&names) }.unwrap();
            let row = line(&event(&text, Mimetype::JSON), false);
            prop_assert!(!row.contains('\n'));
            let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&row).unwrap();
            prop_assert_eq!(row.len(), names.len() + 1);
            let part = &text[..cut.min(text.len())];
            let row = line(&event(part, Mimetype::JSON), false);
            let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&row).unwrap();
            prop_assert_eq!(&row["_offset"], 7);
        }
    }
}
