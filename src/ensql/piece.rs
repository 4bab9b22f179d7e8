//! A text cut into its tokens, also one that is not finished yet: what an editor needs to know while somebody types.
//!
//! Invariants: the pieces follow each other without gaps, cover the whole text, and begin and end between characters. They
//! are what the reader of queries sees, because its tokenizer cuts them.

use std::ops::Range;

use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::source_text::{EnSql, SourceText};

/// How often the tokenizer is started anew behind something that it can't read. What is behind that is one piece.
const STARTS_MAX: usize = 100;

/// What a piece of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// A keyword or a name.
    Word,
    /// A name in double quotes or back-ticks.
    QuotedName,
    /// A text in single quotes, or bytes.
    Text,
    Number,
    Semicolon,
    /// Any other sign, and what nobody can read.
    Sign,
    Space,
    Comment,
    /// A quote that is not closed, up to the end of the text.
    OpenQuote,
    /// A comment that is not closed, up to the end of the text.
    OpenComment,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub kind: PieceKind,
    /// Where it is, in bytes.
    pub range: Range<usize>,
}

/// Cuts a text into its pieces.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    for _ in 0..STARTS_MAX {
        start = cut(text, start, &mut pieces);
        let rest = &text[start..];
        let Some(first) = rest.chars().next() else { return pieces };
        if rest.starts_with("/*") {
            pieces.push(Piece { kind: PieceKind::OpenComment, range: start..text.len() });
            return pieces;
        }
        // A quote may have a letter in front of it, as that of bytes has.
        if rest.chars().take(2).any(|letter| matches!(letter, '\'' | '"' | '`')) {
            pieces.push(Piece { kind: PieceKind::OpenQuote, range: start..text.len() });
            return pieces;
        }
        pieces.push(Piece { kind: PieceKind::Sign, range: start..start + first.len_utf8() });
        start += first.len_utf8();
    }
    if start < text.len() {
        pieces.push(Piece { kind: PieceKind::Sign, range: start..text.len() });
    }
    pieces
}

/// Cuts from a position on, as far as the tokenizer can read. Gives where it stopped.
fn cut(text: &str, start: usize, pieces: &mut Vec<Piece>) -> usize {
    let source = SourceText::whole(&text[start..]);
    let mut tokens = Vec::new();
    // What it stopped at is looked at by the caller, whatever the tokenizer says of it.
    Tokenizer::new(&EnSql, source.text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens)
        .unwrap_or_default();
    let mut end = start;
    for token in tokens {
        let to = (start + source.byte(token.span.end)).max(end);
        if to > end {
            pieces.push(Piece { kind: kind(&token.token), range: end..to });
        }
        end = to;
    }
    end
}

fn kind(token: &Token) -> PieceKind {
    match token {
        Token::Word(word) if word.quote_style.is_some() => PieceKind::QuotedName,
        Token::Word(_) => PieceKind::Word,
        Token::Number(..) => PieceKind::Number,
        Token::SemiColon => PieceKind::Semicolon,
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => PieceKind::Comment,
        Token::Whitespace(_) => PieceKind::Space,
        Token::SingleQuotedString(_) | Token::HexStringLiteral(_) => PieceKind::Text,
        _ => PieceKind::Sign,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[(&str, PieceKind)]) {
        let found: Vec<(&str, PieceKind)> =
            pieces(text).into_iter().map(|piece| (&text[piece.range], piece.kind)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn what_a_text_consists_of() {
        use PieceKind::{Comment, Number, QuotedName, Semicolon, Sign, Space, Text, Word};
        check(
            " a.\"b c\"=x'00' -- ;\n'it''s\\';'/*;*/1.5;",
            &[
                (" ", Space),
                ("a", Word),
                (".", Sign),
                ("\"b c\"", QuotedName),
                ("=", Sign),
                ("x'00'", Text),
                (" ", Space),
                ("-- ;", Comment),
                ("\n", Space),
                ("'it''s\\';'", Text),
                ("/*;*/", Comment),
                ("1.5", Number),
                (";", Semicolon),
            ],
        );
    }

    #[test]
    fn what_is_not_finished() {
        use PieceKind::{Comment, OpenComment, OpenQuote, Semicolon, Sign, Space, Word};
        check("a 'b; /*", &[("a", Word), (" ", Space), ("'b; /*", OpenQuote)]);
        check("a \"b;", &[("a", Word), (" ", Space), ("\"b;", OpenQuote)]);
        check("a `b;", &[("a", Word), (" ", Space), ("`b;", OpenQuote)]);
        check("x'00;", &[("x'00;", OpenQuote)]);
        check(
            "a /* 'b; */ /* c;",
            &[("a", Word), (" ", Space), ("/* 'b; */", Comment), (" ", Space), ("/* c;", OpenComment)],
        );
        check("a -- b;", &[("a", Word), (" ", Space), ("-- b;", Comment)]);
        // What can't be read does not hide what is behind it.
        check("$$ a;", &[("$", Sign), ("$", Sign), (" ", Space), ("a", Word), (";", Semicolon)]);
        check("", &[]);
    }

    proptest! {
        #[test]
        fn pieces_cover_every_text(text in "([a-z_0-9 .;:?'\"`$\\\\*/\n\u{e9}\u{1f600}-]|/\\*|\\*/|--|\\PC){0,60}") {
            let mut end = 0;
            for piece in pieces(&text) {
                prop_assert_eq!(piece.range.start, end);
                prop_assert!(piece.range.end > end);
                prop_assert!(text.get(piece.range.clone()).is_some());
                end = piece.range.end;
            }
            prop_assert_eq!(end, text.len());
        }

        /// A text that the reader of queries can take apart ends in nothing that is open.
        #[test]
        fn what_is_open_is_so_for_the_reader_of_queries(text in "[a-b ;'\"`x*/\n-]{1,20}") {
            let is_open = pieces(&text).last().is_some_and(|piece| matches!(piece.kind, PieceKind::OpenQuote | PieceKind::OpenComment));
            let tokens = SourceText::whole(&text).tokens();
            prop_assert_eq!(is_open, tokens.is_err());
        }
    }
}
