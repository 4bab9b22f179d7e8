//! What fuzzers feed with arbitrary bytes: the bodies of REST requests.

use serde::Deserialize;

use super::rest::parse;

/// Texts that routes look for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Texts {
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nothing {}

/// A body is an object or refused, and its fields are those that a plain reader of JSON finds.
pub fn fuzz_rest_body(data: &[u8]) {
    let plain = serde_json::from_slice::<serde_json::Value>(data).ok();
    if parse::<Nothing>(data).is_err() {
        assert!(!plain.is_some_and(|value| value.is_object()), "an object was refused");
        return;
    }
    let Ok(texts) = parse::<Texts>(data) else { return };
    let Some(object) = plain.as_ref().and_then(serde_json::Value::as_object) else { return };
    let found = [
        ("client_id", texts.client_id),
        ("client_secret", texts.client_secret),
        ("refresh_token", texts.refresh_token),
    ];
    for (name, found) in found {
        let has_others = object.keys().any(|key| key != name && key.eq_ignore_ascii_case(name));
        if !has_others {
            // What is no text was refused above, and null is the same as nothing.
            let expected = object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn rest_bodies() {
        let seeds: [&[u8]; 5] = [
            br#"{"client_id":"abc","client_secret":"def"}"#,
            br#"{"refresh_token":"a.b.c","org_id":"01HQ3J1Y6PMX7J5CCVY4ZJ5T8E"}"#,
            br#"{"Client_ID":null,"client_id":5,"x":{"y":[1,"\u00e9\ud83e\udd80"]}} trailing"#,
            b"[[[[[[[[[[[[[[[[[[[[[[[[",
            b"null",
        ];
        run_bounded("a REST body", &seeds, fuzz_rest_body);
    }

    /// A reader of JSON that follows every bracket deeper would run out of stack.
    #[test]
    fn a_body_of_brackets() {
        fuzz_rest_body(&b"[".repeat(100_000));
        fuzz_rest_body(&br#"{"a":"#.repeat(20_000));
    }
}
