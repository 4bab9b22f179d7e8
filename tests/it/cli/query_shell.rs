//! The interactive shell, typed at on a terminal.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;

use super::{machine::Machine, terminal::Terminal};

const PROMPT: &str = "ensign> ";

const HISTORY: &str = ".local/state/ensign/query_history";

/// A machine with two topics, one of which has events.
fn publish(machine: &Machine) {
    machine.ensign("topic create empty -q").check();
    let lines = "{\"city\":\"Ulm\",\"total\":1}\n{\"city\":\"Bonn\",\"total\":2.5,\"from\":{\"x\":null}}\n";
    machine.ensign("publish orders -q").stdin(lines).check();
}

/// What a terminal shows that has no escape sequences: exactly this, and nothing else.
#[test]
fn a_conversation_on_a_plain_terminal() {
    let machine = Machine::new();
    let server = machine.dev_server();
    publish(&machine);
    let mut terminal = Terminal::start(machine.ensign("query").env("TERM", "dumb"));
    let banner = terminal.wait_for(PROMPT);
    assert!(banner.starts_with(&format!("ensign {} · {} · project ", env!("CARGO_PKG_VERSION"), server.endpoint())));
    assert!(banner.ends_with(" · \\? for help\r\n"), "{banner}");
    let mut check = |typed: &str, prompt: &str, expected: &str| {
        terminal.press(&format!("{typed}\n"));
        let seen = terminal.wait_for(prompt);
        assert_eq!(seen, format!("{typed}\n{expected}").replace('\n', "\r\n"));
    };
    check("SELECT city, total", "     -> ", "");
    check("FROM orders -- all;", "     -> ", "");
    check(";", PROMPT, "city  total\nUlm       1\nBonn    2.5\n2 rows\n");
    check("", PROMPT, "");
    check("SELECT * FORM orders;", PROMPT, "  SELECT * FORM orders\n           ^\nerror: ");
}
