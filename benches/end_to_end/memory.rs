//! How much memory a server takes.

use std::{
    io::Read as _,
    process::{Child, Stdio},
    time::Duration,
};

use crate::{
    Error, Payload, Plan,
    broker::{Broker, number, succeed},
    table::{Row, Unit, Wanted},
};

/// How long an idle server is left alone before it is looked at.
const CALM: Duration = Duration::from_secs(4);

/// What the slow subscriber reads at a time, and how long it rests after that.
const SIP_BYTES: usize = 64 * 1024;
const REST: Duration = Duration::from_millis(20);

pub(crate) fn measure(plan: &Plan, payload: &Payload) -> Result<Vec<Row>, Error> {
    let broker = Broker::start(&plan.scratch)?;
    plan.clock.block(CALM);
    let idle = megabytes(broker.memory("VmRSS")?);
    succeed(broker.ensign(&["--quiet", "topic", "create", "load"])?.stdout(Stdio::null()))?;

    let events = plan.bytes / payload.bytes_mean();
    let (count, all) = (events.to_string(), (events * 8).to_string());
    let mut slow = Running(broker.ensign(&["tail", "load", "-o", "raw"])?.stdout(Stdio::piped()).spawn()?);
    let mut output = slow.0.stdout.take().ok_or("it has no output")?;
    let clock = plan.clock.clone();
    let slow_reader = std::thread::Builder::new().spawn(move || {
        let mut sip = vec![0; SIP_BYTES];
        // It ends when the subscriber is killed.
        while output.read(&mut sip).is_ok_and(|bytes| bytes > 0) {
            clock.block(REST);
        }
    })?;
    let fast = ["--quiet", "bench", "tail", "load", "--streams", "8", "--from", "start", "--count", &all];
    let mut fast = Running(broker.ensign(&fast)?.stdout(Stdio::null()).spawn()?);
    let mut arguments = vec!["publish", "load", "--count", &count];
    let file = payload.arguments();
    arguments.extend(file.iter().map(String::as_str));
    let rate = number(&broker.bench(&arguments)?, "/events_per_second")?;
    let status = fast.0.wait()?;
    if !status.success() {
        return Err(format!("the fast subscribers ended with {status}").into());
    }
    let most = megabytes(broker.memory("VmHWM")?);
    drop(slow);
    slow_reader.join().map_err(|_| "the slow reader failed")?;
    plan.clock.block(CALM);
    let after = megabytes(broker.memory("VmRSS")?);
    Ok(vec![
        Row::new("idle, just started", Unit::Megabytes, idle).wanted(Wanted::AtMost(25.0)),
        Row::new("the most while all went through", Unit::Megabytes, most).wanted(Wanted::AtMost(120.0)),
        Row::new("four seconds later", Unit::Megabytes, after),
        Row::new("publish meanwhile", Unit::Rate, rate),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "it is only shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A process that does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended can't be killed.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}
