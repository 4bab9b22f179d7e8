//! The documents say what is there: commands that run, links that lead somewhere, tests that exist, the modules and the
//! layers as they are.

use std::collections::BTreeSet;

use crate::{
    layers::LAYERS,
    source::{Source, files_below, is_kind, read, root},
};

const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];

#[test]
fn the_commands_of_the_readme_are_what_is_run() {
    let commands: Vec<String> = code_lines(&read("README.md")).take(2).collect();
    let run = read(".ci/run");
    let [first, second] = commands.as_slice() else { panic!("{commands:?}") };
    assert!(first.starts_with("cargo run ") && run.contains(first), "{first}");
    assert!(second.starts_with("cargo test") && run.contains(&format!("step 'tests' {second}\n")), "{second}");
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        for target in links(&text) {
            if target.contains("://") {
                continue;
            }
            let beside = root().join(&document).parent().unwrap().join(target);
            assert!(beside.exists(), "{document} links to {target}");
        }
    }
    assert_eq!(links("[a](b.txt) and [c](d/e) or `x[0](y)`, [f] (g)"), ["b.txt", "d/e"]);
}

#[test]
fn every_document_is_linked() {
    let linked = read("README.md") + &read("ARCHITECTURE.md");
    let linked: BTreeSet<&str> = links(&linked).into_iter().collect();
    for document in documents() {
        let linked = document == "README.md" || linked.contains(document.as_str());
        assert!(linked, "neither README.md nor ARCHITECTURE.md links to {document}");
    }
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let tests = all_tests();
    let text = read("docs/guarantees.md");
    let mut named = 0;
    for test in in_backticks(&text).filter(|quoted| quoted.contains("::")) {
        assert!(tests.contains(test), "there is no test {test}");
        named += 1;
    }
    assert!(named > 30, "only {named} tests are named");

    let (promised, rest) = text.split_once("\n## 8. ").unwrap();
    assert!(!in_backticks(rest).any(|quoted| quoted.contains("::")), "what is assumed is not tested here");
    let mut clauses = 0;
    for clause in promised.split("\n\n").filter(|paragraph| paragraph.starts_with(|first: char| first.is_ascii_digit()))
    {
        let held = in_backticks(clause).any(|quoted| quoted.contains("::"));
        // That there is no order is not something to hold.
        assert!(held || clause.contains("There is no"), "no test holds this:\n{clause}");
        clauses += 1;
    }
    assert!(clauses > 20, "only {clauses} clauses were found");
}

#[test]
fn the_changelog_knows_this_version() {
    let heading = format!("\n## [{}] - ", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&heading), "no section {heading:?}");
}

#[test]
fn the_code_map_is_what_is_in_src() {
    let text = read("ARCHITECTURE.md");
    let mapped: BTreeSet<String> =
        rows(&text, "| in `src/` |").map(|row| in_backticks(row).next().unwrap().to_owned()).collect();
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        there.insert(if entry.file_type().unwrap().is_dir() { name + "/" } else { name });
    }
    assert_eq!(mapped, there);
}

#[test]
fn the_layers_are_as_they_are_described() {
    let text = read("ARCHITECTURE.md");
    let mut described = BTreeSet::new();
    for row in rows(&text, "| module | may import |") {
        let mut cells = row.trim_matches('|').split('|');
        let (modules, imports) = (cells.next().unwrap(), cells.next().unwrap());
        let imports: BTreeSet<&str> = in_backticks(imports).collect();
        described.extend(in_backticks(modules).map(|module| (module.to_owned(), imports.clone())));
    }
    let mut enforced: BTreeSet<_> =
        LAYERS.iter().map(|(module, imports)| ((*module).to_owned(), imports.iter().copied().collect())).collect();
    enforced.insert(("cli".to_owned(), BTreeSet::new()));
    assert_eq!(described, enforced);
    assert!(text.lines().count() < 300, "the architecture has to be readable at once");
}

/// The documents for readers, by their paths.
fn documents() -> Vec<String> {
    let below = files_below("docs").into_iter().filter(|path| is_kind(path, "md"));
    DOCUMENTS.into_iter().map(str::to_owned).chain(below).collect()
}

/// The lines of indented code blocks.
fn code_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned)
}

/// Where the links of a text lead to.
fn links(text: &str) -> Vec<&str> {
    // What is in backticks is code, and every second piece.
    let prose = text.split('`').step_by(2);
    prose.flat_map(|piece| piece.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the table that has this head.
fn rows<'a>(text: &'a str, head: &str) -> impl Iterator<Item = &'a str> {
    let (_, table) = text.split_once(head).unwrap_or_else(|| panic!("no table {head}"));
    table.lines().skip(2).take_while(|line| line.starts_with('|'))
}

/// All tests, by the paths that the test runner calls them; those of this binary behind `it::`.
fn all_tests() -> BTreeSet<String> {
    let mut sources = Source::all();
    let own = files_below("tests/it").into_iter().filter(|path| is_kind(path, "rs"));
    sources.extend(own.map(|path| Source::parse(&path, &read(&path))));
    sources.iter().flat_map(|source| source.test_names.clone()).collect()
}
