//! Colors for what is being typed: keywords, texts, comments.

use crate::ensql::{KEYWORDS, PieceKind, pieces};

const KEYWORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const COMMENT: &str = "\x1b[2m";
const OFF: &str = "\x1b[0m";

/// What is longer than this is shown as it is: it is looked at anew with every key.
const BYTES_MAX: usize = 16 * 1024;

/// Whether a word is a keyword, in whatever letters.
pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// A line with colors, behind the lines before it. Without them, it is the same text.
pub(super) fn colored(before: &str, line: &str) -> Option<String> {
    if before.len() + line.len() > BYTES_MAX || (before.is_empty() && super::meta::is_command(line, true)) {
        return None;
    }
    let text = format!("{before}{line}");
    let mut shown = String::with_capacity(line.len() * 2);
    for piece in pieces(&text) {
        // A quote that was opened on a line before reaches into this one.
        let range = piece.range.start.max(before.len())..piece.range.end;
        if range.is_empty() {
            continue;
        }
        let part = &text[range];
        let color = match piece.kind {
            PieceKind::Word if is_keyword(part) => KEYWORD,
            PieceKind::Text | PieceKind::OpenQuote => TEXT,
            PieceKind::Comment | PieceKind::OpenComment => COMMENT,
            _ => {
                shown.push_str(part);
                continue;
            }
        };
        shown.push_str(color);
        shown.push_str(part);
        shown.push_str(OFF);
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colors() {
        let check = |before: &str, line: &str, expected: Option<&str>| {
            let shown = colored(before, line);
            let shown = shown.map(|shown| {
                let marks = [(KEYWORD, "<k>"), (TEXT, "<t>"), (COMMENT, "<c>"), (OFF, "</>")];
                marks.iter().fold(shown, |shown, (escape, mark)| shown.replace(escape, mark))
            });
            assert_eq!(shown.as_deref(), expected, "{line}");
        };
        check("", "Select a, 'b' -- c", Some("<k>Select</> a, <t>'b'</> <c>-- c</>"));
        check("SELECT 'a\n", "b' from", Some("<t>b'</> <k>from</>"));
        check("/* \n", "x */ limit 1", Some("<c>x */</> <k>limit</> 1"));
        check("", "\"from\" 'open", Some("\"from\" <t>'open</>"));
        check("", "\\d from", None);
        check("", &"x".repeat(BYTES_MAX + 1), None);
    }

    proptest! {
        #[test]
        fn the_text_stays_what_it_is(before in "[a-c '\"`/*\u{e9}\n-]{0,12}", line in "\\PC{0,30}|[a-c '\"`/*\u{e9}-]{0,12}") {
            if let Some(shown) = colored(&before, &line) {
                let plain = [KEYWORD, TEXT, COMMENT, OFF].iter().fold(shown, |text, escape| text.replace(escape, ""));
                prop_assert_eq!(plain, line);
            }
        }
    }
}
