//! Who may import whom, and which module may name which outside crate.
//!
//! The tables are the law; `ARCHITECTURE.md` gives the reasons. A change of a table is a commit of its own.

use crate::source::{NamedPath, Source, read};

/// The modules from the ground up, each with what it may import. Unit tests keep to it too.
pub(crate) const LAYERS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("sys", &["model"]),
    ("config", &["model"]),
    ("telemetry", &["model"]),
    ("api", &["model"]),
    ("journal", &["model", "sys"]),
    ("store", &["model", "sys", "journal"]),
    ("engine", &["model", "sys", "store"]),
    ("ensql", &["model"]),
    ("broker", &["model", "sys", "store", "engine", "ensql"]),
    // The engine's root key seals the key that signs tokens.
    ("identity", &["model", "sys", "store", "engine"]),
    ("client", &["model", "sys", "api"]),
    ("credentials", &["model", "sys"]),
    ("server", &["model", "sys", "telemetry", "api", "store", "engine", "broker", "identity"]),
];

/// `cli` and `main.rs` stand on top; `lib.rs` only lists.
const TOP: [&str; 1] = ["cli"];

/// What is on one line here does not import each other.
const SIBLINGS: [&[&str]; 5] = [
    &["sys", "config", "telemetry"],
    &["api", "journal"],
    &["engine", "ensql"],
    &["broker", "identity"],
    &["client", "credentials", "server"],
];

/// Every dependency, and what of `std` is guarded, with the modules that may name it. A module stands for those in
/// it. `*` is everyone; nobody is meant by an empty list.
const OWNERS: &[(&str, &[&str])] = &[
    ("aes_gcm", &["engine", "client::sealing", "credentials::vault"]),
    ("argon2", &["identity", "credentials::vault", "server::root_key"]),
    ("axum", &["server"]),
    ("base64", &["*"]),
    ("bytes", &["*"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("crc32c", &["journal"]),
    ("csv", &["cli", "ensql"]),
    ("dialoguer", &["cli"]),
    ("directories", &["credentials", "cli"]),
    ("flate2", &["server"]),
    ("futures_util", &["store", "engine", "broker", "client", "server", "cli"]),
    ("getrandom", &["sys"]),
    ("governor", &["server"]),
    ("hdrhistogram", &["cli"]),
    ("hkdf", &["engine"]),
    ("hmac", &["broker"]),
    ("http", &["client", "server"]),
    ("http_body", &["client", "server"]),
    ("http_body_util", &["server"]),
    ("hyper", &["server"]),
    ("hyper_util", &["server"]),
    ("indicatif", &["cli"]),
    ("jaq_core", &["cli"]),
    ("jaq_json", &["cli"]),
    ("jaq_std", &["cli"]),
    ("jiff", &["model", "ensql", "cli"]),
    ("jsonwebtoken", &["identity"]),
    ("keyring", &["credentials"]),
    ("lettre", &["server"]),
    ("mimalloc", &["main"]),
    ("prometheus_client", &["telemetry"]),
    ("prost", &["api", "client", "server"]),
    ("prost_types", &["api", "client", "server"]),
    ("rcgen", &["server"]),
    ("redb", &["store::local"]),
    ("reqwest", &["client"]),
    ("rustix", &["sys"]),
    ("rustls", &["client", "server"]),
    ("rustyline", &["cli::query"]),
    ("serde", &["*"]),
    ("serde_json", &["*"]),
    ("serde_yaml", &["config", "credentials", "cli"]),
    ("sha2", &["engine", "broker", "identity", "credentials", "server", "cli::archive"]),
    ("smallvec", &["engine"]),
    ("sqlparser", &["ensql"]),
    ("stacker", &["ensql"]),
    ("std::fs", &["sys"]),
    ("std::net", &["client", "server", "cli"]),
    ("std::time::Instant", &["sys"]),
    ("std::time::SystemTime", &["sys"]),
    ("strsim", &["cli::query"]),
    ("subtle", &["identity"]),
    ("thiserror", &["*"]),
    // Not `model`, `journal` and `ensql`, which are plain functions.
    ("tokio", &["sys", "telemetry", "store", "engine", "broker", "identity", "client", "server", "cli"]),
    ("tokio::fs", &[]),
    ("tokio_rustls", &["server"]),
    ("tokio_util", &["engine", "server", "cli"]),
    ("tonic", &["api", "client", "server"]),
    ("tonic_health", &["server"]),
    ("tonic_prost", &["api", "server"]),
    ("tonic_reflection", &["server"]),
    ("tower", &["client", "server"]),
    ("tracing", &["*"]),
    ("tracing_subscriber", &["telemetry"]),
    ("unicode_width", &["cli"]),
    ("utoipa", &["server"]),
    ("zeroize", &["model", "engine", "identity", "credentials", "server::root_key"]),
    ("zstd", &["engine", "server", "cli::archive"]),
    ("zxcvbn", &["identity"]),
];

/// What unit tests may name besides, everywhere.
const TEST_CRATES: [&str; 4] = ["proptest", "std::fs", "tempfile", "tokio"];

/// Where nothing is async, so that it can be tested and fuzzed as plain functions.
const NOT_ASYNC: [&str; 3] = ["model", "journal", "ensql"];

#[test]
fn modules_import_what_stands_below_them() {
    let findings: Vec<String> = Source::all().iter().flat_map(imports).collect();
    assert!(findings.is_empty(), "against the table of imports:\n{}", findings.join("\n"));
}

#[test]
fn outside_crates_are_named_by_their_owners() {
    let findings: Vec<String> = Source::all().iter().flat_map(outside_crates).collect();
    assert!(findings.is_empty(), "against the table of owners:\n{}", findings.join("\n"));
}

#[test]
fn some_modules_are_plain_functions() {
    let findings: Vec<String> = Source::all().iter().flat_map(asyncs).collect();
    assert!(findings.is_empty(), "async where nothing is:\n{}", findings.join("\n"));
}

#[test]
fn the_table_of_imports_is_of_the_modules_there_are() {
    let modules: Vec<String> = read("src/lib.rs")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect();
    let mut table: Vec<&str> = LAYERS.iter().map(|(module, _)| *module).chain(TOP).collect();
    table.sort_unstable();
    let mut sorted = modules.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, table);

    for (at, (module, below)) in LAYERS.iter().enumerate() {
        for import in *below {
            let stands = LAYERS[..at].iter().any(|(lower, _)| lower == import);
            assert!(stands, "{module} imports {import}, which does not stand below it");
            let siblings = SIBLINGS.iter().any(|line| line.contains(module) && line.contains(import));
            assert!(!siblings, "{module} and {import} are siblings");
        }
    }
}

#[test]
fn the_table_of_owners_is_of_the_dependencies_there_are() {
    let table: Vec<&str> = OWNERS.iter().map(|(name, _)| *name).collect();
    assert!(table.is_sorted(), "the table of owners is in the order of the names");
    let outside: Vec<&str> = table.into_iter().filter(|name| !name.contains("::")).collect();
    assert_eq!(dependencies("dependencies"), outside);

    let sources = Source::all();
    for name in outside {
        let mut paths = sources.iter().flat_map(|source| &source.paths);
        assert!(paths.any(|path| path.segments[0] == name), "nothing names the dependency {name}");
    }
}

/// What the tests see in snippets that break the rules, and in some that do not.
#[test]
fn broken_rules_are_found() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        let source = Source::parse(path, text);
        let found: Vec<String> = imports(&source).into_iter().chain(outside_crates(&source)).collect();
        let found: Vec<&str> = found.iter().filter_map(|line| line.split(": ").nth(1)).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("src/model/rlid.rs", "use crate::sys::Clock;", &["model imports sys"]);
    check("src/engine/topic.rs", "use crate::{model::{Time, Rlid}, broker};", &["engine imports broker"]);
    check("src/sys/clock.rs", "use super::super::config::Config;", &["sys imports config"]);
    check("src/sys/mod.rs", "use super::config::Config;", &["sys imports config"]);
    check("src/sys/disk/mod.rs", "use super::clock::Clock;", &[]);
    check("src/api/mod.rs", "use crate::*;", &["api imports *"]);
    check("src/store/local/mod.rs", "fn f() { log!(crate::cli::run()) }", &["store imports cli"]);
    check("src/client/mod.rs", "#[cfg(test)] mod tests { use crate::server; }", &["client imports server"]);
    check("src/cli/tail.rs", "use crate::{client, server, credentials};", &[]);
    check("src/lib.rs", "pub mod model; pub use model::Offset;", &[]);
    check("src/store/memory.rs", "use redb::Database;", &["store::memory names redb"]);
    check("src/store/local/rows.rs", "use redb::Database;", &[]);
    check("src/credentials/store.rs", "type A = argon2::Argon2;", &["credentials::store names argon2"]);
    check("src/journal/writer.rs", "fn f() { std::fs::remove_file(p) }", &["journal::writer names std::fs"]);
    check("src/journal/writer.rs", "use std::{fs, io};", &["journal::writer names std::fs"]);
    check("src/journal/writer.rs", "#[cfg(test)] mod tests { fn f() { std::fs::read(tempfile::tempdir()) } }", &[]);
    check("src/journal/writer.rs", "#[cfg(test)] mod tests { use redb::Database; }", &["journal::writer names redb"]);
    check("src/sys/files.rs", "use tokio::fs::read;", &["sys::files names tokio::fs"]);
    check("src/model/event.rs", "#[derive(serde::Serialize, clap::Args)] struct A;", &["model::event names clap"]);

    assert_eq!(asyncs(&Source::parse("src/journal/a.rs", "\nasync fn f() {}")), ["src/journal/a.rs:2: async"]);
    assert!(asyncs(&Source::parse("src/journal/a.rs", "#[cfg(test)] async fn f() {}")).is_empty());
}

/// Where a file imports what its module may not.
fn imports(source: &Source) -> Vec<String> {
    let Some(module) = source.module.first().map(String::as_str) else {
        return Vec::new();
    };
    if TOP.contains(&module) {
        return Vec::new();
    }
    let allowed = LAYERS.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, allowed)| allowed);
    let named = source.paths.iter().filter(|path| path.segments[0] == "crate");
    named
        .filter(|path| path.segments[1] != module && !allowed.contains(&path.segments[1].as_str()))
        .map(|path| finding(source, path, &format!("{module} imports {}", path.segments[1])))
        .collect()
}

/// Where a file names an outside crate that its module does not own.
fn outside_crates(source: &Source) -> Vec<String> {
    let module = if source.path == "src/main.rs" { "main".to_owned() } else { source.module.join("::") };
    let mut findings = Vec::new();
    for path in &source.paths {
        let Some(name) = guarded(path) else { continue };
        let owners = OWNERS.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, owners)| owners);
        let owns = |owner: &&str| *owner == "*" || module == **owner || module.starts_with(&format!("{owner}::"));
        let for_a_test = path.in_test && TEST_CRATES.contains(&name.as_str());
        if !for_a_test && !owners.iter().any(owns) {
            findings.push(finding(source, path, &format!("{module} names {name}")));
        }
    }
    findings
}

/// The name in the table of owners that a path falls under; of several, the longest. A crate that is in no table is not
/// a dependency, and does not compile.
fn guarded(path: &NamedPath) -> Option<String> {
    let names = (1..=path.segments.len()).rev().map(|length| path.segments[..length].join("::"));
    names.into_iter().find(|name| OWNERS.iter().any(|(known, _)| known == name))
}

fn asyncs(source: &Source) -> Vec<String> {
    let pure = source.module.first().is_some_and(|module| NOT_ASYNC.contains(&module.as_str()));
    source.first_async.filter(|_| pure).map(|line| format!("{}:{line}: async", source.path)).into_iter().collect()
}

fn finding(source: &Source, path: &NamedPath, what: &str) -> String {
    format!("{}:{}: {what}", source.path, path.line)
}

/// The names in a section of the manifest, as they are written in code.
fn dependencies(section: &str) -> Vec<String> {
    let manifest = read("Cargo.toml");
    let lines = manifest.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}
