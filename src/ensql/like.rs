//! The patterns of LIKE and ILIKE: `%` is any text, `_` is any one character.
//!
//! A pattern is cut at its `%`. The parts are looked for one after the other, each at its first place, which is never wrong, so
//! nothing is ever tried again: the work is at most the text's length times the longest part's.

use std::borrow::Cow;

use super::expression::LikeStyle;

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    any_case: bool,
}

/// What stands between two `%`. The first part is at the text's beginning, the last one at its end; where the pattern begins
/// or ends with `%`, they are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Without `_`.
    Text(String),
    /// `None` is any character.
    Letters(Vec<Option<char>>),
}

/// Characters of a part with `_`, which is what makes a search slow. Longer ones match nothing.
pub(super) const PART_LETTERS_MAX: usize = 256;

impl Pattern {
    pub(super) fn new(pattern: &str, style: LikeStyle) -> Pattern {
        let folded = if style.any_case { fold(pattern) } else { Cow::Borrowed(pattern) };
        let mut parts = vec![Vec::new()];
        let mut letters = folded.chars();
        while let Some(letter) = letters.next() {
            let part = match letter {
                letter if Some(letter) == style.escape => letters.next().map(Some),
                '%' => {
                    parts.push(Vec::new());
                    None
                }
                '_' => Some(None),
                letter => Some(Some(letter)),
            };
            if let (Some(letter), Some(last)) = (part, parts.last_mut()) {
                last.push(letter);
            }
        }
        Pattern { parts: parts.into_iter().map(Part::new).collect(), any_case: style.any_case }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        if self.any_case {
            return self.matches_as_it_is(&fold(text));
        }
        self.matches_as_it_is(text)
    }

    fn matches_as_it_is(&self, text: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let Some(start) = first.at_start(text) else { return false };
        let Some((last, middle)) = rest.split_last() else { return start == text.len() };
        let mut text = &text[start..];
        for part in middle {
            let Some(end) = part.find(text) else { return false };
            text = &text[end..];
        }
        last.is_at_end(text)
    }
}

impl Part {
    fn new(letters: Vec<Option<char>>) -> Part {
        match letters.iter().copied().collect::<Option<String>>() {
            Some(text) => Part::Text(text),
            None => Part::Letters(letters),
        }
    }

    /// Where the part ends, when the text begins with it.
    fn at_start(&self, text: &str) -> Option<usize> {
        match self {
            Part::Text(part) => text.starts_with(part.as_str()).then_some(part.len()),
            Part::Letters(part) => {
                if part.len() > PART_LETTERS_MAX {
                    return None;
                }
                let mut letters = text.chars();
                for expected in part {
                    let letter = letters.next()?;
                    if expected.is_some_and(|expected| expected != letter) {
                        return None;
                    }
                }
                Some(text.len() - letters.as_str().len())
            }
        }
    }

    /// Where the first place of the part ends.
    fn find(&self, text: &str) -> Option<usize> {
        match self {
            Part::Text(part) => text.find(part.as_str()).map(|at| at + part.len()),
            Part::Letters(_) => text.char_indices().find_map(|(at, _)| Some(at + self.at_start(&text[at..])?)),
        }
    }

    fn is_at_end(&self, text: &str) -> bool {
        match self {
            Part::Text(part) => text.ends_with(part.as_str()),
            Part::Letters(part) => {
                let start = text.char_indices().rev().nth(part.len() - 1).map(|(at, _)| at);
                start.is_some_and(|start| self.at_start(&text[start..]).is_some())
            }
        }
    }
}

/// A text in which letters that differ in case alone are the same.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(text.to_ascii_lowercase());
        }
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIKE: LikeStyle = LikeStyle { any_case: false, escape: None };

    fn check(text: &str, pattern: &str, style: LikeStyle, expected: bool) {
        assert_eq!(Pattern::new(pattern, style).matches(text), expected, "{text:?} like {pattern:?}");
    }

    #[test]
    fn patterns() {
        check("", "", LIKE, true);
        check("", "%", LIKE, true);
        check("", "_", LIKE, false);
        check("abc", "abc", LIKE, true);
        check("abc", "ABC", LIKE, false);
        check("abc", "a%", LIKE, true);
        check("abc", "%c", LIKE, true);
        check("abc", "%b%", LIKE, true);
        check("abc", "a_c", LIKE, true);
        check("abc", "a__", LIKE, true);
        check("abc", "____", LIKE, false);
        check("aab", "%ab", LIKE, true);
        check("ab", "ab%b", LIKE, false);
        check("a\u{e9}c", "a_c", LIKE, true);
        check("a%c", "a\\%c", LIKE, false);
        check("abab", "%a_%b", LIKE, true);
    }

    #[test]
    fn case_and_escapes() {
        let any_case = LikeStyle { any_case: true, escape: None };
        check("Stra\u{df}e \u{c9}", "stra\u{df}E \u{e9}", any_case, true);
        check("ABC", "%b%", any_case, true);
        let escaped = LikeStyle { any_case: false, escape: Some('\\') };
        check("50%", "50\\%", escaped, true);
        check("500", "50\\%", escaped, false);
        check("a_", "a\\_", escaped, true);
        check("a\\", "a\\\\", escaped, true);
    }

    #[test]
    fn a_hostile_pattern_is_not_tried_again_and_again() {
        let text = "a".repeat(20_000);
        check(&text, &format!("{}b", "%a".repeat(5_000)), LIKE, false);
        check(&text, &format!("%{}b%", "_a".repeat(100)), LIKE, false);
        check(&text, &"_".repeat(PART_LETTERS_MAX + 1), LIKE, false);
    }

    /// Says what a pattern means, without a thought for the time it takes.
    fn naive(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skipped| naive(&text[skipped..], rest)),
            Some((first, rest)) => {
                text.split_first().is_some_and(|(letter, text)| (*first == '_' || first == letter) && naive(text, rest))
            }
        }
    }

    proptest! {
        #[test]
        fn patterns_mean_what_they_say(text in "[ab\u{e9}]{0,8}", pattern in "[ab\u{e9}%_]{0,6}") {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            prop_assert_eq!(Pattern::new(&pattern, LIKE).matches(&text), naive(&letters(&text), &letters(&pattern)));
        }
    }
}
