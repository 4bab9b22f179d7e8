//! `--param NAME=VALUE`: what a placeholder of a query stands for, with a type.
//!
//! What JSON writes as a number is one: a whole number, or a float when it is written as one or has no room in 64 bits. So `007` and `+49`
//! are texts, as they are in CSV. `true`, `false` and `null` are what they are in a query. A text in quotes, single or double, is what
//! stands between them, whatever that looks like; `x'00ff'` is bytes. All else is a text as it stands.

use std::str::FromStr;

use bytes::Bytes;

use crate::client::{Parameter, ParameterValue};

/// `min=100`; without a name, for the next `?` of the query, `=100`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParameterArg(pub(super) Parameter);

impl FromStr for ParameterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ParameterArg, String> {
        let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE, or as =VALUE for a `?`")?;
        let name = name.strip_prefix([':', '@']).unwrap_or(name);
        if let Some(wrong) = name.chars().find(|letter| !letter.is_alphanumeric() && *letter != '_') {
            return Err(format!("{name:?} can't be the name of a parameter, because of the {wrong:?}"));
        }
        Ok(ParameterArg(Parameter { name: name.to_owned(), value: read(value)? }))
    }
}

fn read(text: &str) -> Result<ParameterValue, String> {
    for quote in ['\'', '"'] {
        if let Some(within) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Ok(ParameterValue::Text(within.to_owned()));
        }
    }
    if let Some(digits) = text.strip_prefix(['x', 'X']).and_then(|rest| rest.strip_prefix('\'')?.strip_suffix('\'')) {
        let bytes = from_hex(digits).ok_or("bytes are pairs of hexadecimal digits, as in x'00ff'")?;
        return Ok(ParameterValue::Bytes(bytes));
    }
    Ok(match text {
        "null" => ParameterValue::Null,
        "true" => ParameterValue::Bool(true),
        "false" => ParameterValue::Bool(false),
        _ if !is_json_number(text) => ParameterValue::Text(text.to_owned()),
        _ => match (text.parse(), text.parse()) {
            (Ok(whole), _) => ParameterValue::Int(whole),
            (Err(_), Ok(float)) => ParameterValue::Float(float),
            (Err(_), Err(_)) => ParameterValue::Text(text.to_owned()),
        },
    })
}

/// Whether this is how JSON writes a number that is not beyond a float.
fn is_json_number(text: &str) -> bool {
    text.trim() == text && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

fn from_hex(digits: &str) -> Option<Bytes> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Result<ParameterValue, String> {
        format!("name={text}").parse::<ParameterArg>().map(|argument| {
            assert_eq!(argument.0.name, "name");
            argument.0.value
        })
    }

    fn text(text: &str) -> ParameterValue {
        ParameterValue::Text(text.to_owned())
    }

    #[test]
    fn every_kind_of_value_has_a_form() {
        let check = |written: &str, expected: ParameterValue| assert_eq!(value(written), Ok(expected), "{written}");
        check("12", ParameterValue::Int(12));
        check("-9223372036854775808", ParameterValue::Int(i64::MIN));
        check("9223372036854775808", ParameterValue::Float(9_223_372_036_854_775_808.0));
        check("1.50", ParameterValue::Float(1.5));
        check("1e3", ParameterValue::Float(1_000.0));
        check("true", ParameterValue::Bool(true));
        check("false", ParameterValue::Bool(false));
        check("null", ParameterValue::Null);
        check("x'00ff'", ParameterValue::Bytes(Bytes::from_static(&[0, 255])));
        check("X'Aa'", ParameterValue::Bytes(Bytes::from_static(&[0xaa])));
        check("x''", ParameterValue::Bytes(Bytes::new()));
        for plain in ["", "DE", "007", "+49", "1.", ".5", "NaN", "TRUE", " 1", "a=b", "'", "x'", "it's", "-", "1 2"] {
            check(plain, text(plain));
        }
        check("'12'", text("12"));
        check("\"true\"", text("true"));
        check("'it's'", text("it's"));
        check("''", text(""));
        check("''12''", text("'12'"));
        assert!(value("x'0'").is_err() && value("x'zz'").is_err() && value("x'é'").is_err());
    }

    #[test]
    fn names() {
        let name = |written: &str| written.parse::<ParameterArg>().map(|argument| argument.0.name);
        assert_eq!(name("a_1=1"), Ok("a_1".to_owned()));
        assert_eq!(name(":a=1"), Ok("a".to_owned()));
        assert_eq!(name("@a=1"), Ok("a".to_owned()));
        assert_eq!(name("=1"), Ok(String::new()));
        assert!(name("a").is_err() && name("a b=1").is_err() && name("::a=1").is_err());
    }

    proptest! {
        /// Whatever a text looks like, quotes keep it; and every other kind comes back as it was.
        #[test]
        fn nothing_is_changed_on_the_way(
            any_text in "\\PC{0,9}|[0-9'x.e+-]{0,9}",
            whole in any::<i64>(),
            float in any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()),
            bytes in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            prop_assert_eq!(value(&format!("'{any_text}'")), Ok(text(&any_text)));
            prop_assert_eq!(value(&format!("\"{any_text}\"")), Ok(text(&any_text)));
            prop_assert_eq!(value(&whole.to_string()), Ok(ParameterValue::Int(whole)));
            prop_assert_eq!(value(&format!("{float:?}")), Ok(ParameterValue::Float(float)));
            let digits = bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
            prop_assert_eq!(value(&format!("x'{digits}'")), Ok(ParameterValue::Bytes(bytes.into())));
        }
    }
}
