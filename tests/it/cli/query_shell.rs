//! The interactive shell, typed at on a terminal.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;

use super::{machine::Machine, terminal::Terminal};

const PROMPT: &str = "ensign> ";

const HISTORY: &str = ".local/state/ensign/query_history";

/// Two topics, one of which has events.
fn publish(machine: &Machine) {
    machine.ensign("topic create empty -q").check();
    let lines = "{\"city\":\"Ulm\",\"total\":1}\n{\"city\":\"Bonn\",\"total\":2.5,\"from\":{\"x\":null}}\n";
    machine.ensign("publish orders -q --file").file(&machine.file("orders.jsonl", lines)).check();
}

/// A terminal that has no escape sequences, with the shell at its first prompt.
fn plain_terminal(machine: &Machine) -> Terminal {
    let mut terminal = Terminal::start(machine.ensign("query").env("TERM", "dumb"));
    terminal.wait_for(PROMPT);
    terminal
}

/// What is shown between a line that is typed and the next prompt: exactly this, and nothing else.
#[track_caller]
fn check(terminal: &mut Terminal, typed: &str, prompt: &str, expected: &str) {
    terminal.press(&format!("{typed}\n"));
    let seen = terminal.wait_for(prompt);
    assert_eq!(seen, format!("{typed}\n{expected}").replace('\n', "\r\n"));
}

#[test]
fn a_conversation_on_a_plain_terminal() {
    let machine = Machine::new();
    let server = machine.dev_server();
    publish(&machine);
    let mut terminal = Terminal::start(machine.ensign("query").env("TERM", "dumb"));
    let banner = terminal.wait_for(PROMPT);
    assert!(banner.starts_with(&format!("ensign {} · {} · project ", env!("CARGO_PKG_VERSION"), server.endpoint())));
    assert!(banner.ends_with(" · \\? for help\r\n"), "{banner}");
    let mut check = |typed: &str, prompt: &str, expected: &str| check(&mut terminal, typed, prompt, expected);

    check("SELECT city, total", "     -> ", "");
    check("FROM orders -- all;", "     -> ", "");
    check(";", PROMPT, "city  total\nUlm       1\nBonn    2.5\n2 rows\n");
    check("", PROMPT, "");
    let error = "error: syntax error at position 9 near \"FORM\": invalid select fields statement\n";
    let hint = "hint: an alias needs AS; a comma stands between columns, and FROM behind them\n";
    check("SELECT * FORM orders;", PROMPT, &format!("{error}  SELECT * FORM orders\n           ^\n{hint}"));
    check("\\d nope", PROMPT, "error: there is no topic nope\nhint: \\d lists the topics\n");
    let fields = "FIELD     TYPE            EXAMPLE\ncity      text            Ulm\n\
                  total     float, integer  1\n\"from\".x  null\n";
    let note = "as 2 events have them\nevery event has \
                _id, _offset, _committed, _created, _type, _version, _mimetype, _key, _size, _meta\n";
    check("\\d orders", PROMPT, &format!("{fields}{note}"));
    check(
        "\\timng",
        PROMPT,
        "error: there is no command \\timng\nhint: did you mean \\timing? \\? lists the commands\n",
    );
    check(
        "SELECT count(*) AS n FROM orders WHERE total > :min;",
        PROMPT,
        "error: no value is given for the parameter :min\n",
    );
    check("\\set min 1.5", PROMPT, "");
    check("\\set", PROMPT, "NAME  VALUE\n:min  1.5\n");
    check(
        "SELECT count(*) AS n FROM orders WHERE total > :min; SELECT 7 AS x FROM orders LIMIT 1;",
        PROMPT,
        "n\n1\n1 row\nx\n7\n1 row\n",
    );
    check("\\f csv", PROMPT, "");
    check("\\o out.csv", PROMPT, "results go to out.csv\n");
    check("SELECT city FROM orders;", PROMPT, "2 rows\n");
    check(
        "\\o /no/such/place",
        PROMPT,
        "error: could not write /no/such/place: No such file or directory (os error 2)\n",
    );
    check("\\o", PROMPT, "results go to the terminal\n");
    check("\\format", PROMPT, "the format is csv\n");
    check("\\timing", PROMPT, "timing is on\n");
    check("SELECT 'a;", "     '> ", "");
    check("exit", "     '> ", "this became part of the statement; \\q leaves, and ctrl-c forgets the statement\n");
    terminal.signal(Signal::INT);
    terminal.wait_for(PROMPT);
    terminal.press("quit\n");
    assert_eq!(terminal.end(), Some(0));
    assert!(!terminal.all().contains('\x1b'), "{:?}", terminal.all());
    assert_eq!(fs::read_to_string(machine.path("out.csv")).unwrap(), "city\nUlm\nBonn\n");
}

/// Keys that an editor takes: tab, arrows, ctrl-c, ctrl-d.
#[test]
fn the_line_can_be_edited() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    publish(&machine);
    let run = || machine.ensign("query -q").env("TERM", "xterm-256color");
    let mut terminal = Terminal::start(run());
    terminal.wait_for(PROMPT);
    // What these have asked for is remembered, so that the tab key waits for nobody.
    terminal.press("\\d\r");
    terminal.wait_for("empty");
    terminal.wait_for(PROMPT);
    terminal.press("\\d orders\r");
    terminal.wait_for("Ulm");
    terminal.wait_for(PROMPT);
    // A keyword, a topic, and a field of that topic.
    terminal.press("sel\t'x' AS a FROM or\tWHERE ci\t = 'Bonn';\r");
    terminal.wait_for("\r\nx\r\n");
    terminal.wait_for(PROMPT);
    terminal.press(" SELECT 'hidden' AS b FROM orders LIMIT 1;\r");
    terminal.wait_for("\r\nhidden\r\n");
    terminal.wait_for(PROMPT);
    // A line that ctrl-c ended was not meant; the arrow brings back the one before it.
    terminal.press("SELECT 'forgotten\x03");
    terminal.wait_for("\r\n");
    terminal.wait_for(PROMPT);
    terminal.press("\x1b[A");
    terminal.wait_for("'Bonn'");
    terminal.press("\x15\x04");
    assert_eq!(terminal.end(), Some(0), "{:?}", terminal.all());

    let path = machine.path(HISTORY);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let remembered = "#V2\n\\\\d\n\\\\d orders\nselect 'x' AS a FROM orders WHERE city = 'Bonn';\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), remembered);

    // It is there for the next time.
    let mut terminal = Terminal::start(run());
    terminal.wait_for(PROMPT);
    terminal.press("\x12Bonn");
    terminal.wait_for("(reverse-i-search)`Bonn'");
    terminal.press("\r");
    terminal.wait_for("\r\nx\r\n");
    terminal.wait_for(PROMPT);
    terminal.press("\x04");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_server_that_went_away_is_asked_again() {
    let machine = Machine::new();
    let mut server = machine.dev_server();
    publish(&machine);
    let mut terminal = plain_terminal(&machine);
    check(&mut terminal, "SELECT city FROM orders LIMIT 1;", PROMPT, "city\nUlm\n1 row\n");
    let arguments = format!("--addr 127.0.0.1:{}", server.port());
    server.end(Signal::TERM);
    terminal.press("SELECT city FROM orders LIMIT 1;\n");
    terminal.wait_for("error: ");
    terminal.wait_for(PROMPT);
    let _server = machine.dev_server_with(&arguments);
    check(&mut terminal, "SELECT city FROM orders LIMIT 1;", PROMPT, "city\nUlm\n1 row\n");
}

#[test]
fn ctrl_c_forgets_what_was_typed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    publish(&machine);
    let mut terminal = plain_terminal(&machine);
    check(&mut terminal, "SELECT city", "     -> ", "");
    terminal.signal(Signal::INT);
    terminal.wait_for(PROMPT);
    check(&mut terminal, "SELECT city FROM orders LIMIT 1;", PROMPT, "city\nUlm\n1 row\n");
    terminal.press("\\q\n");
    assert_eq!(terminal.end(), Some(0));
}
