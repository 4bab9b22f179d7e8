//! What fuzzers feed with arbitrary bytes: the bodies of REST requests.

use super::rest::Fields;

/// The names that the routes look for.
const NAMES: [&str; 4] = ["client_id", "client_secret", "refresh_token", "org_id"];

/// A body is an object or refused, and its fields are those that a plain reader of JSON finds.
pub fn fuzz_rest_body(data: &[u8]) {
    let plain = serde_json::from_slice::<serde_json::Value>(data).ok();
    let Ok(fields) = Fields::parse(data) else {
        assert!(!plain.is_some_and(|value| value.is_object()), "an object was refused");
        return;
    };
    for name in NAMES {
        let (text, id) = (fields.text(name), fields.id(name));
        assert!(text.is_ok() || id.is_err(), "an identifier is a text");
        let found = plain.as_ref().and_then(|plain| plain.get(name)).and_then(serde_json::Value::as_str);
        let has_others = plain
            .as_ref()
            .and_then(serde_json::Value::as_object)
            .is_some_and(|object| object.keys().any(|key| key != name && key.eq_ignore_ascii_case(name)));
        if let Some(found) = found
            && !has_others
        {
            assert_eq!(text.ok().as_deref(), Some(found));
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
