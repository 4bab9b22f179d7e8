//! What a reader may rely on in every file, as far as neither the compiler nor clippy says it.

use crate::source::{Source, files_below, is_kind, read, root};

/// Lines of code in a file, without its tests.
const CODE_LINES_MAX: usize = 600;

/// Characters in a line.
const LINE_CHARS_MAX: usize = 140;

/// Text that is in no source, with the reason. They are written in two parts so that this file passes too.
const BANNED: [(&str, &str, &str); 8] = [
    ("TO", "DO", "what is not done is not there"),
    ("FIX", "ME", "what is broken is fixed"),
    ("XX", "X", "a remark is a sentence"),
    ("\t", "", "indentation is spaces"),
    ("\r", "", "lines end in a line feed"),
    ("/ho", "me/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/wo", "rk/", "a path of one machine"),
];

/// Modules without unit tests beside them, with the reason.
const UNTESTED: [(&str, &str); 0] = [];

/// Files that may break a rule, with the reason.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

#[test]
fn every_file_keeps_the_limits() {
    let mut findings: Vec<String> = Source::all().iter().flat_map(library_findings).collect();
    for path in own_texts() {
        findings.extend(text_findings(&path, &read(&path)));
    }
    findings.retain(|finding| {
        !EXCEPTIONS.iter().any(|(path, rule, _)| finding.starts_with(path) && finding.contains(rule))
    });
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_module_has_unit_tests() {
    let sources = Source::all();
    let mut modules: Vec<&str> = sources.iter().filter_map(|source| Some(source.module.first()?.as_str())).collect();
    modules.dedup();
    for module in modules {
        let tested =
            sources.iter().any(|source| source.module.first().is_some_and(|top| top == module) && source.has_tests());
        let excepted = UNTESTED.iter().any(|(name, _)| *name == module);
        assert!(tested != excepted, "{module}: tested {tested}, excepted {excepted}");
    }
}

#[test]
fn broken_limits_are_found() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        let mut found = library_findings(&Source::parse(path, text));
        found.extend(text_findings(path, text));
        assert_eq!(found, expected);
    };
    check("src/model/a.rs", "//! A.\n", &[]);
    check("src/model/a.rs", "fn f() {}\n", &["src/model/a.rs:1: does not begin with //!"]);
    check("src/model/a.rs", "//! A.", &["src/model/a.rs:1: does not end in a line feed"]);
    let long = format!("//! A.\n{}", "fn f() {}\n".repeat(600));
    check("src/model/a.rs", &long, &["src/model/a.rs:1: 601 lines of code, at most 600"]);
    let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(600));
    check("src/model/a.rs", &tests, &[]);
    check("src/model/tests.rs", &long, &[]);
    let wide = format!("//! A.\n// {}\n", "\u{e9}".repeat(LINE_CHARS_MAX));
    check("src/model/a.rs", &wide, &["src/model/a.rs:2: 143 characters, at most 140"]);
    for (first, second, reason) in BANNED {
        let text = format!("//! A.\n// see {first}{second} 1\n");
        check("src/model/a.rs", &text, &[&format!("src/model/a.rs:2: {:?}: {reason}", [first, second].concat())]);
    }
    let nowhere = format!("nowhere.{}", "md");
    check(
        "src/model/a.rs",
        &format!("//! See {nowhere}.\n"),
        &[&format!("src/model/a.rs:1: {nowhere} is not in the repository")],
    );
    check("src/model/a.rs", "//! See docs/format.md, \"Frame\".\n", &[]);
    check("src/model/a.rs", "//! *.md and x.md5\n", &[]);
}

/// The limits of the library's files.
fn library_findings(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    if source.code_lines() > CODE_LINES_MAX {
        findings.push(format!("{}:1: {} lines of code, at most {CODE_LINES_MAX}", source.path, source.code_lines()));
    }
    if !source.text.starts_with("//! ") {
        findings.push(format!("{}:1: does not begin with //!", source.path));
    }
    findings
}

/// The limits of every text of ours.
fn text_findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.ends_with('\n') {
        findings.push(format!("{path}:1: does not end in a line feed"));
    }
    for (number, line) in (1..).zip(text.split_terminator('\n')) {
        let chars = line.chars().count();
        if is_kind(path, "rs") && chars > LINE_CHARS_MAX {
            findings.push(format!("{path}:{number}: {chars} characters, at most {LINE_CHARS_MAX}"));
        }
        for (first, second, reason) in BANNED {
            let banned = [first, second].concat();
            if line.contains(&banned) {
                findings.push(format!("{path}:{number}: {banned:?}: {reason}"));
            }
        }
        let missing = documents_in(line).into_iter().filter(|document| !is_there(path, document));
        findings.extend(missing.map(|document| format!("{path}:{number}: {document} is not in the repository")));
    }
    findings
}

/// The names of Markdown files in a line.
fn documents_in(line: &str) -> Vec<&str> {
    line.split(|letter: char| !(letter.is_ascii_alphanumeric() || "._-/".contains(letter)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_kind(word, "md"))
        .collect()
}

/// Whether a document is there, from the root or beside the file that names it.
fn is_there(path: &str, document: &str) -> bool {
    let beside = root().join(path).parent().map(|dir| dir.join(document));
    root().join(document).is_file() || beside.is_some_and(|file| file.is_file())
}

/// The texts that are written by hand: everything but data.
fn own_texts() -> Vec<String> {
    let mut texts: Vec<String> = ["src", "proto", "docs", "tests/it"].into_iter().flat_map(files_below).collect();
    let top = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let top = top.filter(|entry| entry.file_type().unwrap().is_file() && entry.file_name() != "Cargo.lock");
    texts.extend(top.map(|entry| entry.file_name().into_string().unwrap()));
    texts.push(".ci/run".to_owned());
    texts.retain(|path| ["rs", "proto", "md", "toml", "run"].iter().any(|end| path.ends_with(end)));
    texts
}
