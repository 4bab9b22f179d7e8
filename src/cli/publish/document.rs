//! Cutting JSON documents into values, element by element, as they are read.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
    rc::Rc,
};

use serde::de::{DeserializeSeed, Deserializer as _, SeqAccess, Visitor};
use serde_json::{Deserializer, value::RawValue};

use crate::model::limits::EVENT_BYTES_MAX;

/// How much may be read for one value: more can't be an event.
const VALUE_BYTES_MAX: u64 = 2 * EVENT_BYTES_MAX as u64;

/// Reads values and gives the text of each to `take`, as it stands in the document: the elements of arrays, and values
/// that stand alone, one after the other. `take` answers whether to go on.
pub(super) fn read_values(source: impl Read, mut take: impl FnMut(Box<RawValue>) -> bool) -> Result<(), String> {
    let budget = Rc::new(Cell::new(VALUE_BYTES_MAX));
    let mut reader = io::BufReader::with_capacity(64 * 1024, Budgeted { source, budget: budget.clone() });
    loop {
        let Some(first) = skip_space(&mut reader).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        budget.set(VALUE_BYTES_MAX);
        let mut go_on = true;
        let mut each = |value| {
            budget.set(VALUE_BYTES_MAX);
            go_on = take(value);
            go_on
        };
        let mut deserializer = Deserializer::from_reader(io::Read::by_ref(&mut reader));
        let read = if first == b'[' {
            deserializer.deserialize_seq(Elements(&mut each))
        } else {
            serde::Deserialize::deserialize(&mut deserializer).map(|value| {
                each(value);
            })
        };
        match read {
            _ if !go_on => return Ok(()),
            Ok(()) => {}
            Err(error) => return Err(error.to_string()),
        }
        if first != b'[' && !matches!(first, b'{' | b'"') {
            // The end of a number or a word is only seen by reading on, and what was read is in the deserializer.
            return match skip_space(&mut reader).map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(_) => Err("a number or a word has to be the only value of its document".to_owned()),
            };
        }
    }
}

/// Looks at the first byte that is not space, without taking it.
fn skip_space(reader: &mut impl io::BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = reader.fill_buf()?;
        let Some(first) = buffer.first() else {
            return Ok(None);
        };
        let space = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if space == 0 {
            return Ok(Some(*first));
        }
        reader.consume(space);
    }
}

/// Fails when more is read than the budget allows, which every value renews.
struct Budgeted<R> {
    source: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        match self.budget.get().checked_sub(count as u64) {
            Some(left) => self.budget.set(left),
            None => return Err(io::Error::other(format!("a value of more than {VALUE_BYTES_MAX} bytes"))),
        }
        Ok(count)
    }
}

struct Elements<'a, F>(&'a mut F);

impl<'de, F: FnMut(Box<RawValue>) -> bool> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(value) = sequence.next_element_seed(Element)? {
            if !(self.0)(value) {
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

struct Element;

impl<'de> DeserializeSeed<'de> for Element {
    type Value = Box<RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Box<RawValue>, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut values = Vec::new();
        read_values(text.as_bytes(), |value| {
            values.push(value.get().to_owned());
            true
        })
        .unwrap();
        assert_eq!(values, expected, "{text}");
    }

    #[test]
    fn elements_and_values() {
        check("", &[]);
        check(" [] ", &[]);
        check("[1, {\"a\":  1.0} ,\"x\"]", &["1", "{\"a\":  1.0}", "\"x\""]);
        check("{\"a\":1}\n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"]);
        check("[1][2]\n{}", &["1", "2", "{}"]);
        check(" 17 \n", &["17"]);
        check("{\n  \"a\": [1, 2]\n}\n", &["{\n  \"a\": [1, 2]\n}"]);
    }

    #[test]
    fn what_is_not_json() {
        for bad in ["[1,", "{", "nothing", "[1 2]", "1 2"] {
            assert!(read_values(bad.as_bytes(), |_| true).is_err(), "{bad}");
        }
        let mut taken = 0;
        let error = read_values(&b"[1,2,oops]"[..], |_| {
            taken += 1;
            true
        });
        assert!(error.is_err());
        assert_eq!(taken, 2, "what came before was given");
    }

    #[test]
    fn a_value_without_end_takes_no_memory_without_end() {
        let endless = io::Read::chain(&b"[\""[..], io::repeat(b'x'));
        let error = read_values(endless, |_| true).unwrap_err();
        assert!(error.contains("more than"), "{error}");
        let many = format!("[{}\"\"]", "\"x\",".repeat(4_000_000));
        assert!(many.len() as u64 > VALUE_BYTES_MAX);
        read_values(many.as_bytes(), |_| true).unwrap();
    }
}
