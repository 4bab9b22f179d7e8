//! MessagePack: one pass over the bytes, which gives the wanted values and passes over the rest.
//!
//! A member's key that is a number counts as its decimal text; other kinds of keys are passed over with their value. Of
//! members with one name the last counts. Timestamps are times; other extensions are bytes. Objects and arrays that are
//! wanted whole are given as JSON, bytes in them as base64, as long as there is room for it. What is behind the value is an
//! error, as is what is nested deeper than in JSON.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};

use super::{
    super::function::TEXT_BYTES_MAX,
    Undecodable, Value,
    wanted::{Place, Tree},
};
use crate::model::Time;

/// How deep maps and arrays may be nested.
const DEPTH_MAX: u32 = 127;

/// The extension type of timestamps.
const TIMESTAMP: u8 = 0xff;

/// Sets the wanted values of a MessagePack value; all of them are `Null` before.
pub(super) fn read<'a>(data: &'a [u8], tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
    let mut reader = Reader { data, at: 0, depth: 0, room: TEXT_BYTES_MAX };
    reader.wanted(Tree::ROOT, tree, values)?;
    if reader.at == data.len() { Ok(()) } else { Err(reader.wrong()) }
}

/// What stands at the beginning of a value.
enum Token<'a> {
    Scalar(Value<'a>),
    /// An integer beyond an `i64`.
    Large(u64),
    Array(u32),
    Map(u32),
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    depth: u32,
    /// Bytes of JSON that may still be made. Each level that is wanted whole makes its own of all that is below, and a
    /// character of a text can become six.
    room: usize,
}

/// A JSON text that is being made, with room for so many more bytes.
struct Json {
    text: Vec<u8>,
    room: usize,
}

impl Write for Json {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.room = self.room.checked_sub(part.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Reader<'a> {
    #[cold]
    fn wrong(&self) -> Undecodable {
        Undecodable::MessagePack { at: self.at }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Undecodable> {
        let taken = self.data[self.at..].get(..bytes).ok_or_else(|| self.wrong())?;
        self.at += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let taken = self.data[self.at..].first_chunk().ok_or_else(|| self.wrong())?;
        self.at += N;
        Ok(*taken)
    }

    fn length8(&mut self) -> Result<u32, Undecodable> {
        self.array().map(|[byte]| u32::from(byte))
    }

    fn length16(&mut self) -> Result<u32, Undecodable> {
        self.array().map(|bytes| u32::from(u16::from_be_bytes(bytes)))
    }

    fn length32(&mut self) -> Result<u32, Undecodable> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self, length: u32) -> Result<Token<'a>, Undecodable> {
        let bytes = self.take(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Undecodable::NotUtf8)?;
        Ok(Token::Scalar(Value::Text(Cow::Borrowed(text))))
    }

    fn bytes(&mut self, length: u32) -> Result<Token<'a>, Undecodable> {
        Ok(Token::Scalar(Value::Bytes(Cow::Borrowed(self.take(length as usize)?))))
    }

    fn extension(&mut self, length: u32) -> Result<Token<'a>, Undecodable> {
        let [kind] = self.array()?;
        let bytes = self.take(length as usize)?;
        let value = match timestamp(bytes) {
            Some(time) if kind == TIMESTAMP => Value::Time(time),
            _ => Value::Bytes(Cow::Borrowed(bytes)),
        };
        Ok(Token::Scalar(value))
    }

    fn token(&mut self) -> Result<Token<'a>, Undecodable> {
        let [first] = self.array()?;
        let int = |number: i64| Ok(Token::Scalar(Value::Int(number)));
        match first {
            0x00..0x80 => int(i64::from(first)),
            0x80..0x90 => Ok(Token::Map(u32::from(first & 0x0f))),
            0x90..0xa0 => Ok(Token::Array(u32::from(first & 0x0f))),
            0xa0..0xc0 => self.text(u32::from(first & 0x1f)),
            0xc0 => Ok(Token::Scalar(Value::Null)),
            0xc1 => Err(self.wrong()),
            0xc2 => Ok(Token::Scalar(Value::Bool(false))),
            0xc3 => Ok(Token::Scalar(Value::Bool(true))),
            0xc4 => self.length8().and_then(|length| self.bytes(length)),
            0xc5 => self.length16().and_then(|length| self.bytes(length)),
            0xc6 => self.length32().and_then(|length| self.bytes(length)),
            0xc7 => self.length8().and_then(|length| self.extension(length)),
            0xc8 => self.length16().and_then(|length| self.extension(length)),
            0xc9 => self.length32().and_then(|length| self.extension(length)),
            0xca => self.array().map(|bytes| Token::Scalar(Value::Float(f32::from_be_bytes(bytes).into()))),
            0xcb => self.array().map(|bytes| Token::Scalar(Value::Float(f64::from_be_bytes(bytes)))),
            0xcc => self.array().and_then(|[byte]| int(i64::from(byte))),
            0xcd => self.array().and_then(|bytes| int(i64::from(u16::from_be_bytes(bytes)))),
            0xce => self.array().and_then(|bytes| int(i64::from(u32::from_be_bytes(bytes)))),
            0xcf => {
                let number = u64::from_be_bytes(self.array()?);
                Ok(i64::try_from(number).map_or(Token::Large(number), |number| Token::Scalar(Value::Int(number))))
            }
            0xd0 => self.array().and_then(|bytes| int(i64::from(i8::from_be_bytes(bytes)))),
            0xd1 => self.array().and_then(|bytes| int(i64::from(i16::from_be_bytes(bytes)))),
            0xd2 => self.array().and_then(|bytes| int(i64::from(i32::from_be_bytes(bytes)))),
            0xd3 => self.array().and_then(|bytes| int(i64::from_be_bytes(bytes))),
            0xd4..0xd9 => self.extension(1 << (first - 0xd4)),
            0xd9 => self.length8().and_then(|length| self.text(length)),
            0xda => self.length16().and_then(|length| self.text(length)),
            0xdb => self.length32().and_then(|length| self.text(length)),
            0xdc => self.length16().map(Token::Array),
            0xdd => self.length32().map(Token::Array),
            0xde => self.length16().map(Token::Map),
            0xdf => self.length32().map(Token::Map),
            0xe0.. => int(i64::from(i8::from_be_bytes([first]))),
        }
    }

    fn enter(&mut self) -> Result<(), Undecodable> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Undecodable::TooDeep) } else { Ok(()) }
    }

    /// Reads a value of which something is wanted.
    fn wanted(&mut self, place: Place, tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
        let start = self.at;
        match self.token()? {
            Token::Scalar(value) => {
                tree.set(place, value, values);
                return Ok(());
            }
            Token::Large(number) => {
                tree.set(place, large(number), values);
                return Ok(());
            }
            Token::Array(length) => self.elements(length, place, tree, values)?,
            Token::Map(length) => self.members(length, place, tree, values)?,
        }
        if tree.wants_value(place) {
            let mut json = Json { text: Vec::new(), room: self.room };
            let mut reader = Reader { data: self.data, at: start, depth: self.depth, room: 0 };
            let written = reader.write_json(&mut json).and_then(|()| String::from_utf8(json.text).ok());
            // Once there was too little room, nothing more is made: it would take time again and again.
            self.room = if written.is_some() { json.room } else { 0 };
            tree.set(place, written.map_or(Value::Null, |text| Value::Json(Cow::Owned(text))), values);
        }
        Ok(())
    }

    fn elements(
        &mut self,
        length: u32,
        place: Place,
        tree: &Tree,
        values: &mut [Value<'a>],
    ) -> Result<(), Undecodable> {
        self.enter()?;
        for index in 0..length as usize {
            match tree.element(place, index) {
                Some(inner) => self.wanted(inner, tree, values)?,
                None => self.skip()?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn members(&mut self, length: u32, place: Place, tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
        self.enter()?;
        for _ in 0..length {
            let inner = self.key()?.and_then(|key| tree.member(place, &key));
            match inner {
                Some(inner) => {
                    tree.clear(inner, values);
                    self.wanted(inner, tree, values)?;
                }
                None => self.skip()?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A member's key, if it is one that can be named.
    fn key(&mut self) -> Result<Option<Cow<'a, str>>, Undecodable> {
        Ok(match self.token()? {
            Token::Scalar(Value::Text(text)) => Some(text),
            Token::Scalar(Value::Int(number)) => Some(Cow::Owned(number.to_string())),
            Token::Large(number) => Some(Cow::Owned(number.to_string())),
            Token::Scalar(_) => None,
            Token::Array(length) => {
                self.skip_inside(u64::from(length))?;
                None
            }
            Token::Map(length) => {
                self.skip_inside(2 * u64::from(length))?;
                None
            }
        })
    }

    fn skip(&mut self) -> Result<(), Undecodable> {
        match self.token()? {
            Token::Scalar(_) | Token::Large(_) => Ok(()),
            Token::Array(length) => self.skip_inside(u64::from(length)),
            Token::Map(length) => self.skip_inside(2 * u64::from(length)),
        }
    }

    fn skip_inside(&mut self, values: u64) -> Result<(), Undecodable> {
        self.enter()?;
        for _ in 0..values {
            self.skip()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Gives nothing when there is no room for it. What is damaged has been found before.
    fn write_json(&mut self, json: &mut Json) -> Option<()> {
        match self.token().ok()? {
            Token::Scalar(value) => write_scalar(&value, json)?,
            Token::Large(number) => write!(json, "{number}").ok()?,
            Token::Array(length) => {
                self.enter().ok()?;
                json.write_all(b"[").ok()?;
                for index in 0..length {
                    if index > 0 {
                        json.write_all(b",").ok()?;
                    }
                    self.write_json(json)?;
                }
                json.write_all(b"]").ok()?;
                self.depth -= 1;
            }
            Token::Map(length) => {
                self.enter().ok()?;
                json.write_all(b"{").ok()?;
                let mut first = true;
                for _ in 0..length {
                    let Some(key) = self.key().ok()? else {
                        self.skip().ok()?;
                        continue;
                    };
                    if !std::mem::take(&mut first) {
                        json.write_all(b",").ok()?;
                    }
                    write_scalar(&Value::Text(key), json)?;
                    json.write_all(b":").ok()?;
                    self.write_json(json)?;
                }
                json.write_all(b"}").ok()?;
                self.depth -= 1;
            }
        }
        Some(())
    }
}

/// A number that only an `f64` holds, nearly.
#[expect(clippy::cast_precision_loss, reason = "as it is with JSON's large numbers")]
fn large(number: u64) -> Value<'static> {
    Value::Float(number as f64)
}

/// The time of a timestamp in one of its three forms.
fn timestamp(bytes: &[u8]) -> Option<Time> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    (nanos < 1_000_000_000).then(|| Time::from_parts(seconds, i32::try_from(nanos).unwrap_or(0)))
}

fn write_scalar(value: &Value<'_>, json: &mut Json) -> Option<()> {
    match value {
        Value::Bool(is) => write!(json, "{is}").ok(),
        Value::Int(number) => write!(json, "{number}").ok(),
        // JSON has no word for what is not finite.
        Value::Float(number) if number.is_finite() => serde_json::to_writer(json, number).ok(),
        Value::Text(text) => serde_json::to_writer(json, text).ok(),
        Value::Bytes(bytes) => write!(json, "\"{}\"", Base64Display::new(bytes, &STANDARD)).ok(),
        Value::Time(time) => write!(json, "\"{time}\"").ok(),
        _ => json.write_all(b"null").ok(),
    }
}
