//! JSON: one pass over the text, which gives the wanted values as slices of it and passes over the rest.
//!
//! Invariants: what is taken, what is refused and what a value is are as `serde_json` has it: of members with one name the
//! last counts, 127 levels may be nested, numbers beyond an `f64` and halves of surrogate pairs are refused, wherever they
//! stand. Numbers with a fraction or an exponent are rounded correctly. What is passed over is read as well, because a text
//! that ends in the middle is not an event that can be decoded.

use std::borrow::Cow;

use super::{
    Undecodable, Value,
    wanted::{Place, Tree},
};

/// How deep objects and arrays may be nested.
const DEPTH_MAX: u32 = 127;

/// Sets the wanted values of a JSON text; all of them are `Null` before.
pub(super) fn read<'a>(data: &'a [u8], tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
    let text = std::str::from_utf8(data).map_err(|_| Undecodable::NotUtf8)?;
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, depth: 0 };
    scanner.wanted(Tree::ROOT, tree, values)?;
    if scanner.skip_space().is_some() { Err(scanner.wrong()) } else { Ok(()) }
}

/// The number that a text is, if it is one as JSON writes it.
pub(super) fn number(text: &str) -> Option<Value<'static>> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, depth: 0 };
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let shape = if is_number { scanner.number_shape().ok()? } else { return None };
    if scanner.at == text.len() { scanner.number_value(0, shape).ok() } else { None }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// How many objects and arrays are open around this place.
    depth: u32,
}

/// What the text of a number looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Integer,
    Fraction,
    Exponent,
}

/// A quote, a backslash and everything below a space end the plain part of a string. Gives a mask whose lowest set bit lies
/// in the first such byte of eight.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word & HIGH;
    below(word ^ ONES.wrapping_mul(u64::from(b'"')), 1)
        | below(word ^ ONES.wrapping_mul(u64::from(b'\\')), 1)
        | below(word, 0x20)
}

impl<'a> Scanner<'a> {
    #[cold]
    fn wrong(&self) -> Undecodable {
        Undecodable::Json { at: self.at }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The first byte behind white space, which is not taken.
    #[inline]
    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Undecodable> {
        if self.skip_space() != Some(wanted) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a value of which something is wanted.
    fn wanted(&mut self, place: Place, tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
        let first = self.skip_space();
        let start = self.at;
        match first {
            Some(b'{') if tree.wants_members(place) => self.members(place, tree, values)?,
            Some(b'[') if tree.wants_elements(place) => self.elements(place, tree, values)?,
            _ if !tree.wants_value(place) => return self.skip_value(),
            Some(b'"') => {
                let value = Value::Text(self.string()?);
                tree.set(place, value, values);
                return Ok(());
            }
            Some(b'-' | b'0'..=b'9') => {
                let shape = self.number_shape()?;
                let value = self.number_value(start, shape)?;
                tree.set(place, value, values);
                return Ok(());
            }
            Some(literal @ (b't' | b'f' | b'n')) => {
                self.literal(literal)?;
                let value = if literal == b'n' { Value::Null } else { Value::Bool(literal == b't') };
                tree.set(place, value, values);
                return Ok(());
            }
            _ => self.skip_value()?,
        }
        if tree.wants_value(place) {
            tree.set(place, Value::Json(Cow::Borrowed(&self.text[start..self.at])), values);
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Undecodable> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Undecodable::TooDeep) } else { Ok(()) }
    }

    fn members(&mut self, place: Place, tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
        self.enter()?;
        if self.skip_space() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if self.skip_space() != Some(b'"') {
                return Err(self.wrong());
            }
            let key = self.string()?;
            self.expect(b':')?;
            match tree.member(place, &key) {
                Some(inner) => {
                    tree.clear(inner, values);
                    self.wanted(inner, tree, values)?;
                }
                None => self.skip_value()?,
            }
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.wrong()),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    fn elements(&mut self, place: Place, tree: &Tree, values: &mut [Value<'a>]) -> Result<(), Undecodable> {
        self.enter()?;
        if self.skip_space() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        for index in 0.. {
            match tree.element(place, index) {
                Some(inner) => self.wanted(inner, tree, values)?,
                None => self.skip_value()?,
            }
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.wrong()),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Passes over a value. What is open is a bit each: set for an object.
    fn skip_value(&mut self) -> Result<(), Undecodable> {
        let outside = self.depth;
        let mut objects = 0_u128;
        loop {
            match self.skip_space() {
                Some(b'"') => self.skip_string().map(drop)?,
                Some(open @ (b'{' | b'[')) => {
                    self.enter()?;
                    objects = objects << 1 | u128::from(open == b'{');
                    // The closing bracket lies two behind the opening one in ASCII.
                    if self.skip_space() == Some(open + 2) {
                        self.at += 1;
                        self.depth -= 1;
                        objects >>= 1;
                    } else {
                        if open == b'{' {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    let start = self.at;
                    let shape = self.number_shape()?;
                    self.check_range(start, shape)?;
                }
                Some(literal @ (b't' | b'f' | b'n')) => self.literal(literal)?,
                _ => return Err(self.wrong()),
            }
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                match self.skip_space() {
                    Some(b',') => {
                        self.at += 1;
                        if in_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    Some(close) if close == if in_object { b'}' } else { b']' } => {
                        self.at += 1;
                        self.depth -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(self.wrong()),
                }
            }
        }
    }

    #[inline]
    fn skip_key(&mut self) -> Result<(), Undecodable> {
        if self.skip_space() != Some(b'"') {
            return Err(self.wrong());
        }
        self.skip_string()?;
        self.expect(b':')
    }

    fn literal(&mut self, first: u8) -> Result<(), Undecodable> {
        let literal: &[u8] = match first {
            b't' => b"true",
            b'f' => b"false",
            _ => b"null",
        };
        if !self.bytes[self.at..].starts_with(literal) {
            return Err(self.wrong());
        }
        self.at += literal.len();
        Ok(())
    }

    /// Passes over a string with its quotes; says whether something in it is escaped.
    #[inline]
    fn skip_string(&mut self) -> Result<bool, Undecodable> {
        self.at += 1;
        let mut escaped = false;
        loop {
            while let Some(eight) = self.bytes[self.at..].first_chunk::<8>() {
                let found = special(u64::from_le_bytes(*eight));
                if found != 0 {
                    self.at += found.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                None | Some(0..0x20) => return Err(self.wrong()),
                Some(_) => self.at += 1,
            }
        }
    }

    /// A string, as a slice of the text where nothing in it is escaped.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, Undecodable> {
        let start = self.at + 1;
        if !self.skip_string()? {
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let end = self.at;
        self.at = start;
        let unescaped = self.unescape(end - 1)?;
        self.at = end;
        Ok(Cow::Owned(unescaped))
    }

    fn unescape(&mut self, end: usize) -> Result<String, Undecodable> {
        let mut unescaped = String::with_capacity(end - self.at);
        while let Some(plain) = self.text[self.at..end].find('\\') {
            unescaped.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            unescaped.push(self.escape()?);
        }
        unescaped.push_str(&self.text[self.at..end]);
        Ok(unescaped)
    }

    /// Takes an escaped character.
    fn escape(&mut self) -> Result<char, Undecodable> {
        let kind = self.bytes.get(self.at + 1).copied();
        self.at += 2;
        Ok(match kind {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.four_digits()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or_else(|| self.wrong());
                }
                if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
                    return Err(self.wrong());
                }
                self.at += 2;
                let second = self.four_digits()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.wrong());
                }
                let joined = 0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00));
                char::from_u32(joined).ok_or_else(|| self.wrong())?
            }
            _ => return Err(self.wrong()),
        })
    }

    fn four_digits(&mut self) -> Result<u32, Undecodable> {
        let digits = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(|| self.wrong())?;
        let mut number = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.wrong())?;
            number = number << 4 | digit;
        }
        self.at += 4;
        Ok(number)
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Passes over a number.
    #[inline]
    fn number_shape(&mut self) -> Result<Shape, Undecodable> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return Err(self.wrong());
        }
        let mut shape = Shape::Integer;
        if self.peek() == Some(b'.') {
            self.at += 1;
            shape = Shape::Fraction;
            if self.digits() == 0 {
                return Err(self.wrong());
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            shape = Shape::Exponent;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.wrong());
            }
        }
        Ok(shape)
    }

    /// Refuses a number that is too large for an `f64`; a short one without an exponent never is.
    #[inline]
    fn check_range(&self, start: usize, shape: Shape) -> Result<(), Undecodable> {
        if shape == Shape::Exponent || self.at - start > 300 {
            self.float(start)?;
        }
        Ok(())
    }

    fn float(&self, start: usize) -> Result<f64, Undecodable> {
        let float: f64 = self.text[start..self.at].parse().map_err(|_| self.wrong())?;
        if float.is_finite() { Ok(float) } else { Err(self.wrong()) }
    }

    #[inline]
    fn number_value(&self, start: usize, shape: Shape) -> Result<Value<'static>, Undecodable> {
        let text = &self.text[start..self.at];
        if shape == Shape::Integer
            && text != "-0"
            && let Ok(integer) = text.parse()
        {
            return Ok(Value::Int(integer));
        }
        self.float(start).map(Value::Float)
    }
}
