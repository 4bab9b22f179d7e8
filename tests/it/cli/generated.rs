//! What the binary generates and the repository holds is what the binary generates now.

use std::{collections::BTreeSet, fs};

use super::machine::{Machine, repository};

#[test]
fn completions_are_current() {
    let machine = Machine::new();
    for (shell, name) in [
        ("bash", "ensign.bash"),
        ("elvish", "ensign.elv"),
        ("fish", "ensign.fish"),
        ("powershell", "ensign.ps1"),
        ("zsh", "_ensign"),
    ] {
        let script = machine.ensign(&format!("completions {shell}")).stderr("").check().stdout;
        let kept = fs::read(repository("completions").join(name)).unwrap();
        assert!(script == kept, "`ensign completions {shell} > completions/{name}` brings it up to date");
    }
}

#[test]
fn manual_pages_are_current() {
    let machine = Machine::new();
    let dir = machine.path("man");
    machine.ensign("man").file(&dir).check();
    let names = |dir: &std::path::Path| -> BTreeSet<_> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let kept = repository("man");
    assert_eq!(names(&dir), names(&kept), "`ensign man man` brings them up to date");
    for name in names(&dir) {
        let same = fs::read(dir.join(&name)).unwrap() == fs::read(kept.join(&name)).unwrap();
        assert!(same, "{}: `ensign man man` brings it up to date", name.display());
    }
}

#[test]
fn live_names_are_completed() {
    let machine = Machine::new();
    let server = machine.dev_server();
    machine.ensign("topic create flights flights.late -q").stdout("").stderr("").check();
    let complete = |line: &[&str]| {
        let words = std::iter::once("--").chain(line.iter().copied());
        machine.run(words).env("COMPLETE", "fish").check().text().to_owned()
    };
    assert_eq!(complete(&["ensign", "tail", "fl"]), "flights\nflights.late\n");
    let profiles = complete(&["ensign", "profile", "use", "d"]);
    assert_eq!(profiles, format!("dev\t{}\n", server.endpoint()));
}
