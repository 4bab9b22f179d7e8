//! What was typed and is not run yet: lines, which are cut into statements.
//!
//! A statement ends with a semicolon that is in no quotes and no comment, wherever that stands, as in other shells for SQL. An
//! empty line ends nothing.

use crate::ensql::{PieceKind, pieces};

/// The beginning of a statement whose end has not been typed yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    text: String,
}

/// What has to come before the statement can be run, which the prompt shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A statement: nothing was typed yet.
    Statement,
    /// The rest of it, or its semicolon.
    Semicolon,
    /// The quote that closes what the same quote opened.
    Quote(char),
    CommentEnd,
}

impl Pending {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes one more line, without its end.
    pub(super) fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Gives the next whole statement, without its semicolon. What consists of spaces and comments alone is no statement.
    pub(super) fn next_statement(&mut self) -> Option<String> {
        loop {
            let mut says_something = false;
            let mut end = None;
            for piece in pieces(&self.text) {
                match piece.kind {
                    PieceKind::Semicolon => {
                        end = Some(piece.range);
                        break;
                    }
                    PieceKind::Space | PieceKind::Comment => {}
                    _ => says_something = true,
                }
            }
            let Some(end) = end else {
                if !says_something {
                    self.text.clear();
                }
                return None;
            };
            let rest = self.text.split_off(end.end);
            let mut statement = std::mem::replace(&mut self.text, rest);
            statement.truncate(end.start);
            if says_something {
                return Some(statement);
            }
        }
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    pub(super) fn awaited(&self) -> Awaited {
        if self.text.is_empty() {
            return Awaited::Statement;
        }
        let last = pieces(&self.text).pop();
        match last.map(|piece| (piece.kind, &self.text[piece.range])) {
            Some((PieceKind::OpenComment, _)) => Awaited::CommentEnd,
            Some((PieceKind::OpenQuote, text)) => {
                Awaited::Quote(text.chars().find(|letter| !letter.is_alphabetic()).unwrap_or('\''))
            }
            _ => Awaited::Semicolon,
        }
    }
}

impl Awaited {
    /// Whether a command of the shell may be typed here.
    pub(super) fn takes_commands(self) -> bool {
        matches!(self, Awaited::Statement | Awaited::Semicolon)
    }

    pub(super) fn prompt(self) -> String {
        match self {
            Awaited::Statement => "ensign> ".to_owned(),
            Awaited::Semicolon => "     -> ".to_owned(),
            Awaited::Quote(quote) => format!("     {quote}> "),
            Awaited::CommentEnd => "     *> ".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of lines: the statements, and what is awaited behind them.
    fn typed(lines: &[&str]) -> (Vec<String>, Awaited) {
        let mut pending = Pending::default();
        let mut statements = Vec::new();
        for line in lines {
            pending.push(line);
            while let Some(statement) = pending.next_statement() {
                statements.push(statement);
            }
        }
        (statements, pending.awaited())
    }

    #[test]
    fn statements_end_with_a_semicolon() {
        let check = |lines: &[&str], statements: &[&str], awaited| {
            assert_eq!(
                typed(lines),
                (statements.iter().map(|text| (*text).to_owned()).collect(), awaited),
                "{lines:?}"
            );
        };
        check(&["SELECT 1;"], &["SELECT 1"], Awaited::Statement);
        check(&["a; b ;"], &["a", " b "], Awaited::Statement);
        check(&["a", "", "b;c"], &["a\n\nb"], Awaited::Semicolon);
        check(&["a -- ;", ";"], &["a -- ;\n"], Awaited::Statement);
        check(&["a ';", "';"], &["a ';\n'"], Awaited::Statement);
        check(&["a 'it''s;", "x\\';'", ";"], &["a 'it''s;\nx\\';'\n"], Awaited::Statement);
        check(&["", ";", " ; ;", "-- nothing", "/* ; */"], &[], Awaited::Statement);
        check(&["a 'x"], &[], Awaited::Quote('\''));
        check(&["a x'0"], &[], Awaited::Quote('\''));
        check(&["a \"x;"], &[], Awaited::Quote('"'));
        check(&["a `x;"], &[], Awaited::Quote('`'));
        check(&["/* a;"], &[], Awaited::CommentEnd);
        check(&["a $$ ;"], &["a $$ "], Awaited::Statement);
    }

    #[test]
    fn prompts_are_of_one_width() {
        for awaited in [Awaited::Statement, Awaited::Semicolon, Awaited::Quote('`'), Awaited::CommentEnd] {
            assert_eq!(awaited.prompt().len(), 8, "{awaited:?}");
        }
    }

    proptest! {
        /// What was typed is in a statement or still there, besides semicolons, spaces and comments.
        #[test]
        fn nothing_is_lost(lines in prop::collection::vec("[ab ;'\"`*/\u{e9}-]{0,12}", 1..5)) {
            let mut pending = Pending::default();
            for line in &lines {
                pending.push(line);
            }
            let mut taken = String::new();
            while let Some(statement) = pending.next_statement() {
                taken += &statement;
                taken.push(';');
            }
            taken += pending.text();
            let words = |text: &str| -> String {
                let pieces = pieces(text).into_iter();
                let said = pieces.filter(|piece| {
                    !matches!(piece.kind, PieceKind::Space | PieceKind::Comment | PieceKind::Semicolon)
                });
                said.map(|piece| &text[piece.range]).collect()
            };
            prop_assert_eq!(words(&taken), words(&(lines.join("\n") + "\n")));
        }
    }
}
