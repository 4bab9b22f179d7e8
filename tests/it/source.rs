//! What a source file of the library says, as far as the tests of its shape need to know: which paths it names where,
//! and which of its lines are tests.
//!
//! A file is read as tokens, not as text, so that comments and strings are not taken for code, and not as a syntax
//! tree, so that what stands within a macro's parentheses counts too.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A file below `src` or `tests`, or a text that pretends to be one.
pub(crate) struct Source {
    /// Its path, from the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The module that it is: `["store", "local"]` is `src/store/local/mod.rs`; `lib.rs` and `main.rs` are none.
    pub(crate) module: Vec<String>,
    /// The paths that it names, of two segments or more; an import of several is several.
    pub(crate) paths: Vec<NamedPath>,
    /// Its tests, as the test runner calls them.
    pub(crate) test_names: Vec<String>,
    /// Whether `async` or `await` occurs outside of tests, and where first.
    pub(crate) first_async: Option<usize>,
    tests: Vec<RangeInclusive<usize>>,
}

/// A path as it is named somewhere.
#[derive(Debug)]
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) in_test: bool,
    /// Absolute: the first segment is an outside crate or `crate`. What is named through `super` is resolved.
    pub(crate) segments: Vec<String>,
}

impl Source {
    /// Reads a text as if it stood in the file of this path.
    pub(crate) fn parse(path: &str, text: &str) -> Source {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path} does not lex: {error}"));
        let module = module_of(path);
        let whole_file_is_test = path.ends_with("/tests.rs");
        let mut reading = Reading {
            inline: module.clone(),
            in_test: whole_file_is_test,
            tests: Vec::new(),
            paths: Vec::new(),
            test_names: Vec::new(),
            first_async: None,
        };
        reading.tokens(tokens);
        let Reading { paths, test_names, first_async, mut tests, .. } = reading;
        if whole_file_is_test {
            tests = vec![1..=text.lines().count()];
        }
        Source { path: path.to_owned(), text: text.to_owned(), module, paths, test_names, first_async, tests }
    }

    /// All files below `src`, in the order of their paths.
    pub(crate) fn all() -> Vec<Source> {
        let files = files_below("src").into_iter().filter(|path| is_kind(path, "rs"));
        files.map(|path| Source::parse(&path, &read(&path))).collect()
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines are not tests.
    pub(crate) fn code_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test_line(*line)).count()
    }

    pub(crate) fn has_tests(&self) -> bool {
        !self.tests.is_empty()
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a directory of the repository, as paths from its root, in their order.
pub(crate) fn files_below(dir: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut dirs = vec![PathBuf::from(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root().join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else {
                files.push(path.into_os_string().into_string().unwrap());
            }
        }
    }
    files.sort();
    files
}

/// Whether a file's name has this extension.
pub(crate) fn is_kind(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").or(path.strip_prefix("tests/")).unwrap_or(path).trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// The state while the tokens of a file are walked.
struct Reading {
    /// The module that the tokens stand in; longer than the file's within `mod name { … }`.
    inline: Vec<String>,
    in_test: bool,
    tests: Vec<RangeInclusive<usize>>,
    paths: Vec<NamedPath>,
    test_names: Vec<String>,
    first_async: Option<usize>,
}

impl Reading {
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        let mut test_begins = false;
        while at < tokens.len() {
            test_begins |= is_test_attribute(&tokens[at..]);
            if let Some(name) = function_name(&tokens[at..])
                && std::mem::take(&mut test_begins)
            {
                self.test_names.push([self.inline.as_slice(), &[name]].concat().join("::"));
            }
            at = if !self.in_test && is_cfg_test(&tokens[at..]) {
                let end = item_end(&tokens, at + 2);
                self.test_item(&tokens[at..end]);
                end
            } else {
                self.token(&tokens, at)
            };
        }
    }

    /// Reads what starts at a token; says where the next thing starts.
    fn token(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        match &tokens[at] {
            TokenTree::Ident(_) if starts_path(tokens, at) => self.path(tokens, at, &[]),
            TokenTree::Group(group) => {
                let inline = inline_module(tokens, at).filter(|_| group.delimiter() == Delimiter::Brace);
                let depth = self.inline.len();
                self.inline.extend(inline);
                self.tokens(group.stream());
                self.inline.truncate(depth);
                at + 1
            }
            _ => at + 1,
        }
    }

    /// Reads a path behind a prefix, and the group that it may end in.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> usize {
        let line = tokens[at].span().start().line;
        let mut segments = prefix.to_vec();
        while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
            let name = ident.to_string();
            if !self.in_test && matches!(name.as_str(), "async" | "await") {
                self.first_async.get_or_insert(line);
            }
            segments.push(name.trim_start_matches("r#").to_owned());
            at += 1;
            if !is_separator(tokens, at) {
                break;
            }
            at += 2;
            if is_punct(tokens, at, '*') {
                segments.push("*".to_owned());
            }
        }
        match tokens.get(at) {
            Some(TokenTree::Group(group)) if is_separator(tokens, at.saturating_sub(2)) => {
                self.group(group.stream(), &segments);
                at + 1
            }
            _ => {
                self.record(line, &segments);
                at
            }
        }
    }

    /// Reads the inside of `path::{ … }`.
    fn group(&mut self, stream: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let starts = matches!(tokens[at], TokenTree::Ident(_)) && (at == 0 || is_punct(&tokens, at - 1, ','));
            at = if starts { self.path(&tokens, at, prefix) } else { at + 1 };
        }
    }

    fn record(&mut self, line: usize, segments: &[String]) {
        if segments.len() < 2 {
            return;
        }
        let up = segments.iter().take_while(|segment| matches!(segment.as_str(), "self" | "super")).count();
        let supers = segments[..up].iter().filter(|segment| *segment == "super").count();
        let segments = if up == 0 {
            segments.to_vec()
        } else {
            let module = &self.inline[..self.inline.len().saturating_sub(supers)];
            [&["crate".to_owned()], module, &segments[up..]].concat()
        };
        self.paths.push(NamedPath { line, in_test: self.in_test, segments });
    }

    fn test_item(&mut self, tokens: &[TokenTree]) {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
        self.tests.push(first.span().start().line..=last.span().end().line);
        self.in_test = true;
        self.tokens(tokens.iter().cloned().collect());
        self.in_test = false;
    }
}

/// `#[cfg(test)]`
fn is_cfg_test(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = tokens else { return false };
    hash.as_char() == '#' && group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// `#[test]`, or another one of that name, as `#[tokio::test]`
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = tokens else { return false };
    let mut path = group.stream().into_iter().take_while(|token| !matches!(token, TokenTree::Group(_)));
    hash.as_char() == '#' && path.by_ref().last().is_some_and(|last| last.to_string() == "test")
}

/// The name behind `fn`.
fn function_name(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [TokenTree::Ident(keyword), TokenTree::Ident(name), ..] if keyword == "fn" => Some(name.to_string()),
        _ => None,
    }
}

/// Where an item ends whose attributes have been read, or not all of them.
fn item_end(tokens: &[TokenTree], start: usize) -> usize {
    let is_import = tokens[start..].iter().take(4).any(
        |token| matches!(token, TokenTree::Ident(ident) if ["use", "const", "static"].iter().any(|word| ident == word)),
    );
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => !is_import && group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[start..].iter().position(ends).map_or(tokens.len(), |end| start + end + 1)
}

/// Whether a word is not a field, a method, a lifetime or the middle of a path.
fn starts_path(tokens: &[TokenTree], at: usize) -> bool {
    let after = |punct| at > 0 && is_punct(tokens, at - 1, punct);
    let after_range = at > 1 && is_punct(tokens, at - 2, '.');
    !(after('\'') || after('.') && !after_range || at > 1 && is_separator(tokens, at - 2))
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let joint = matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.spacing() == Spacing::Joint);
    joint && is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

fn is_punct(tokens: &[TokenTree], at: usize, punct: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(found)) if found.as_char() == punct)
}

/// The name in front of the body of `mod name { … }`.
fn inline_module(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at.checked_sub(2)?..at)? {
        [TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => Some(name.to_string()),
        _ => None,
    }
}

#[test]
fn a_source_says_what_it_names() {
    let source = Source::parse(
        "src/broker/topic.rs",
        r#"
        //! crate::not::named
        use std::{fs, io::{self, Read as _}};
        use crate::{model::Offset, store::{Blocks, Records}};
        use super::{super::engine, record};
        fn f<'a>(bytes: &'a u8) { let x = "crate::neither"; assert!(x.bytes() == sys::now(tokio::spawn(self::g())), "{x}"); }
        mod inner { use super::super::super::sys; }
        #[cfg(test)]
        use crate::{api};
        #[cfg(test)]
        mod tests {
            use super::*;
            fn g() { crate::server::start() }
            proptest! { #[test] fn one(bytes: Vec<u8>) {} }
            #[tokio::test(flavor = "current_thread")]
            #[ignore = "slow"]
            async fn two() {}
        }
        "#,
    );
    let named = |in_test| {
        let paths = source.paths.iter().filter(|path| path.in_test == in_test);
        paths.map(|path| path.segments.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(
        named(false),
        [
            "std::fs",
            "std::io::self",
            "std::io::Read",
            "crate::model::Offset",
            "crate::store::Blocks",
            "crate::store::Records",
            "crate::engine",
            "crate::broker::record",
            "sys::now",
            "tokio::spawn",
            "crate::broker::topic::g",
            "crate::sys",
        ]
    );
    assert_eq!(named(true), ["crate::api", "crate::broker::topic::*", "crate::server::start", "tokio::test"]);
    assert_eq!(source.test_names, ["broker::topic::tests::one", "broker::topic::tests::two"]);
    assert_eq!((source.code_lines(), source.is_test_line(8), source.is_test_line(7)), (8, true, false));
}
