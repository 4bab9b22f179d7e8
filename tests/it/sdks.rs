//! The published SDKs, unchanged, against the server.

use std::process::Command;

use crate::{
    harness::{TestServer, cache, converse, is_installed, repository, run},
    python,
};

/// PyEnsign 0.12.1b0: everything in it that needs a server, also while the server restarts.
#[test]
fn pyensign() {
    let Some(python) = python::interpreter() else { return };
    let mut server = TestServer::start();
    let said = converse(&mut server, Command::new(python).arg(repository("tests/sdk/pyensign_session.py")));
    assert_eq!(said.last().map(String::as_str), Some("ok restart"), "{said:?}");
}

/// The same over TLS, with the authority of a development server; plaintext on the same address is asked as well.
#[test]
fn pyensign_over_tls() {
    let Some(python) = python::interpreter() else { return };
    let mut server = TestServer::start_with_tls();
    let said = converse(&mut server, Command::new(python).arg(repository("tests/sdk/pyensign_session.py")));
    assert_eq!(said.last().map(String::as_str), Some("ok restart"), "{said:?}");
}

/// go-ensign 0.12.0: the steps of its own tests against a deployment, and acks before the end of a stream; over plaintext and TLS.
#[test]
fn go_ensign() {
    if !is_installed("go") {
        return;
    }
    let program = cache().join("go-session");
    run(Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(repository("tests/sdk/go")));
    for mut server in [TestServer::start(), TestServer::start_with_tls()] {
        let said = converse(&mut server, &mut Command::new(&program));
        assert_eq!(said.last().map(String::as_str), Some("ok archive and destroy"), "{said:?}");
    }
}
