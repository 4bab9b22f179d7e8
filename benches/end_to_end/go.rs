//! go-ensign, whose wire is grpc-go's: what it reaches against the echo, and against the server.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Error, Payload, Plan,
    broker::{Broker, succeed},
    echo::EchoServer,
    note,
    table::{Row, Unit, Wanted},
};

/// The name of the topic; the echo knows it, too.
pub(crate) const TOPIC: &str = "load";

/// Whether there is Go; says so when not.
pub(crate) fn is_installed() -> bool {
    let found = Command::new("go").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        note("SKIPPED: go-ensign is not measured, because Go is not installed");
    }
    found
}

pub(crate) fn measure(plan: &Plan, payload: &Payload) -> Result<Vec<Row>, Error> {
    let program = plan.scratch.join("go-flood");
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/go");
    succeed(Command::new("go").args(["build", "-o"]).arg(&program).arg("./flood").current_dir(module))?;

    let server = EchoServer::start()?;
    let mut command = Command::new(&program);
    command.env("ENSIGN_ENDPOINT", server.address()).env("ENSIGN_NO_AUTHENTICATION", "true");
    let echo = flood(plan, payload, command.env("ENSIGN_INSECURE", "true"))?;
    server.stop()?;

    let broker = Broker::start(&plan.scratch)?;
    succeed(broker.ensign(&["--quiet", "topic", "create", TOPIC])?.stdout(Stdio::null()))?;
    let publish = flood(plan, payload, Command::new(&program).envs(broker.environment()?))?;
    Ok(vec![
        Row::new("go-ensign publishes to the echo", Unit::Rate, echo),
        Row::new("go-ensign publishes, acks after fsync", Unit::Rate, publish)
            .to("its echo", echo)
            .wanted(Wanted::AtLeast(0.7)),
    ])
}

/// Runs the publisher; gives its acks a second.
fn flood(plan: &Plan, payload: &Payload, command: &mut Command) -> Result<f64, Error> {
    command.arg(&payload.file).arg(TOPIC).arg(plan.time.as_secs().to_string());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the publisher in Go ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
