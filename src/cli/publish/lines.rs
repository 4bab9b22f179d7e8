//! Cutting a stream of bytes into lines or CSV rows, without a copy where that is possible.

use std::io::{self, BufRead as _, Read};

use bytes::{Buf as _, Bytes, BytesMut};

use crate::model::limits::EVENT_BYTES_MAX;

/// How much is asked for in one go.
const READ_BYTES: usize = 256 * 1024;

/// The longest line that is kept. A record of a large event in base 64 is longer than the event.
const LINE_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1; a row of several lines has that of its first.
    pub(super) number: u64,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(Bytes),
    /// So long that it was not kept, with its length.
    TooLong(u64),
}

/// Reads lines as they come: what a slow writer has finished is not held back until more is there.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    scanned: usize,
    /// Whether an end of line within quotes belongs to the row.
    quotes: bool,
    within_quotes: bool,
    number: u64,
    /// Line ends within the row that is being read.
    inner_lines: u64,
    /// How much of a line that is too long has been thrown away.
    discarded: u64,
    read: u64,
    ended: bool,
}

impl<R: Read> LineReader<R> {
    pub(super) fn lines(source: R) -> LineReader<R> {
        LineReader {
            source,
            buffer: BytesMut::new(),
            scanned: 0,
            quotes: false,
            within_quotes: false,
            number: 1,
            inner_lines: 0,
            discarded: 0,
            read: 0,
            ended: false,
        }
    }

    /// Reads rows of CSV, in which quoted fields may go over several lines.
    pub(super) fn rows(source: R) -> LineReader<R> {
        LineReader { quotes: true, ..LineReader::lines(source) }
    }

    /// How many bytes have been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Waits for input, and appends the lines that it completes. False when there is no more.
    pub(super) fn read(&mut self, lines: &mut Vec<Line>) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let count = loop {
            match self.source.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffer.truncate(before + count);
        self.read += count as u64;
        self.cut(lines);
        if count == 0 {
            self.ended = true;
            if !self.buffer.is_empty() || self.discarded > 0 {
                let rest = self.buffer.split().freeze();
                self.push(rest, lines);
            }
        } else if self.buffer.len() > LINE_BYTES_MAX {
            self.discarded += self.buffer.len() as u64;
            self.buffer.clear();
            self.scanned = 0;
        }
        Ok(true)
    }

    fn cut(&mut self, lines: &mut Vec<Line>) {
        // One split for all complete lines: they share one allocation.
        let ends = if self.quotes { self.row_ends() } else { self.line_ends() };
        if let Some((last, _)) = ends.last() {
            let mut whole = self.buffer.split_to(last + 1).freeze();
            let mut start = 0;
            for (end, inner) in ends {
                let line = whole.split_to(end - start);
                whole.advance(1);
                start = end + 1;
                self.push(line, lines);
                self.number += inner;
            }
        }
        self.scanned = self.buffer.len();
    }

    /// Where lines end in what was not looked at yet. The search is the library's, which does not go byte by byte.
    fn line_ends(&self) -> Vec<(usize, u64)> {
        let mut ends = Vec::new();
        let (mut rest, mut end) = (&self.buffer[self.scanned..], self.scanned);
        loop {
            let passed = rest.skip_until(b'\n').expect("memory can be read");
            end += passed;
            if passed == 0 || self.buffer[end - 1] != b'\n' {
                return ends;
            }
            ends.push((end - 1, 0));
        }
    }

    /// Where rows end in what was not looked at yet, each with how many ends of lines are within it.
    fn row_ends(&mut self) -> Vec<(usize, u64)> {
        let mut ends = Vec::new();
        for (index, byte) in self.buffer.iter().enumerate().skip(self.scanned) {
            match byte {
                b'"' => self.within_quotes = !self.within_quotes,
                b'\n' if !self.within_quotes => ends.push((index, std::mem::take(&mut self.inner_lines))),
                b'\n' => self.inner_lines += 1,
                _ => {}
            }
        }
        ends
    }

    fn push(&mut self, line: Bytes, lines: &mut Vec<Line>) {
        let length = std::mem::take(&mut self.discarded) + line.len() as u64;
        let content = if length > LINE_BYTES_MAX as u64 { Content::TooLong(length) } else { Content::Bytes(line) };
        lines.push(Line { number: self.number, content });
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read_all(mut reader: LineReader<Pieces<'_>>) -> Vec<Line> {
        let mut lines = Vec::new();
        while reader.read(&mut lines).unwrap() {}
        lines
    }

    fn text(line: &Line) -> Vec<u8> {
        match &line.content {
            Content::Bytes(bytes) => bytes.to_vec(),
            Content::TooLong(_) => panic!("too long"),
        }
    }

    proptest! {
        #[test]
        fn lines_are_what_lies_between_their_ends(
            text_bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\xff".to_vec()), 0..60),
            piece in 1_usize..20,
        ) {
            let lines = read_all(LineReader::lines(Pieces(&text_bytes, piece)));
            let mut expected: Vec<Vec<u8>> = text_bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            prop_assert_eq!(lines.iter().map(text).collect::<Vec<_>>(), expected);
            prop_assert!(lines.iter().zip(1..).all(|(line, number)| line.number == number));
        }
    }

    #[test]
    fn rows_hold_quoted_line_ends() {
        let bytes = b"a,b\n1,\"x\ny\"\"\n\"\n2,z";
        for piece in 1..bytes.len() {
            let rows = read_all(LineReader::rows(Pieces(bytes, piece)));
            let texts: Vec<_> = rows.iter().map(text).collect();
            assert_eq!(texts, [&b"a,b"[..], b"1,\"x\ny\"\"\n\"", b"2,z"]);
            assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 5]);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_without_end() {
        let mut bytes = vec![b'x'; 3 * LINE_BYTES_MAX];
        bytes.extend_from_slice(b"\nshort\n");
        let mut reader = LineReader::lines(Pieces(&bytes, READ_BYTES));
        let mut lines = Vec::new();
        let mut most = 0;
        while reader.read(&mut lines).unwrap() {
            most = most.max(reader.buffer.len());
        }
        assert!(most <= LINE_BYTES_MAX + READ_BYTES, "{most}");
        assert_eq!(lines[0].content, Content::TooLong(3 * LINE_BYTES_MAX as u64));
        assert_eq!(text(&lines[1]), b"short");
    }
}
