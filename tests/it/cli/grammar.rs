//! Help, usage errors, exit codes, and flags that mean nothing.

use super::machine::Machine;

#[test]
fn help_for_exit_codes() {
    Machine::new()
        .ensign("help exit-codes")
        .stdout(
            "List the exit codes\n\n\
             \x20   0  done\n\
             \x20   1  failed\n\
             \x20   2  the command line is wrong\n\
             \x20   3  not found\n\
             \x20   4  not signed in, or not allowed\n\
             \x20   5  the server can't be reached\n\
             \x20   6  an expectation was not met, or a check failed\n\
             \x20 130  interrupted\n",
        )
        .stderr("")
        .check();
}

#[test]
fn version() {
    let version = format!("ensign {}\n", env!("CARGO_PKG_VERSION"));
    Machine::new().ensign("--version").stdout(&version).stderr("").check();
}

#[test]
fn without_a_command_help_goes_to_standard_error() {
    let done = Machine::new().ensign("").code(2).stdout("").check();
    assert!(done.stderr.contains("Usage: ensign [OPTIONS] <COMMAND>"), "{}", done.stderr);
}

#[test]
fn mistakes_are_one_line_and_a_hint() {
    let machine = Machine::new();
    machine
        .ensign("tail")
        .code(2)
        .stdout("")
        .stderr(
            "error: the following required arguments were not provided: <TOPIC>...\n\
             hint: `ensign tail --help` explains the command\n",
        )
        .check();
    machine
        .ensign("tail flights --from yesterday")
        .code(2)
        .stderr(
            "error: invalid value 'yesterday' for '--from <POSITION>': \"yesterday\" is not a position; use start, end, \
             now, an offset, an event id, a time (RFC 3339) or an age like -15m\n\
             hint: `ensign --help` explains the commands\n",
        )
        .check();
    machine
        .ensign("topic list -o json --endpoint a:b")
        .code(2)
        .stdout("")
        .stderr(
            "{\"error\":{\"code\":\"usage\",\"message\":\"\\\"a:b\\\" is not an address; write one like \
             localhost:5356\",\"hint\":null}}\n",
        )
        .check();
}

#[test]
fn a_flag_that_means_nothing_is_refused() {
    let machine = Machine::new();
    machine
        .ensign("profile list --endpoint localhost:1")
        .code(2)
        .stderr("error: --endpoint means nothing to this command\nhint: leave --endpoint away\n")
        .check();
    machine
        .ensign("--jq . completions bash")
        .code(2)
        .stderr("error: --jq means nothing to this command\nhint: leave --jq away\n")
        .check();
    machine.ensign("completions bash").env("ENSIGN_JQ", ".").check();
}

#[test]
fn a_server_that_is_not_there() {
    let machine = Machine::new();
    // Nothing listens on the port that the system does not give out.
    machine
        .ensign("status --endpoint localhost:1")
        .code(5)
        .stdout("")
        .stderr("error: can't reach localhost:1: connection refused\nhint: start a server with `ensign dev-server`\n")
        .check();
    machine
        .ensign("topic list -o json --endpoint localhost:1")
        .env("ENSIGN_CLIENT_ID", "id")
        .env("ENSIGN_CLIENT_SECRET", "secret")
        .code(5)
        .stdout("")
        .stderr(
            "{\"error\":{\"code\":\"unreachable\",\"message\":\"can't reach http://localhost:1: connection refused\",\
             \"hint\":\"start a server with `ensign dev-server`\"}}\n",
        )
        .check();
}

#[test]
fn nobody_is_signed_in() {
    let machine = Machine::new();
    machine
        .ensign("topic list")
        .code(4)
        .stderr(
            "error: not signed in to localhost:5356\n\
             hint: `ensign dev-server` starts a server here and signs you in; `ensign login --client-id ID` signs in to \
             one\n",
        )
        .check();
    machine
        .ensign("topic list --profile nowhere")
        .code(3)
        .stderr("error: there is no profile \"nowhere\"\nhint: `ensign profile list` shows what there is\n")
        .check();
}
