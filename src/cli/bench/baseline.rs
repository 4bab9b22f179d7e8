//! Comparing a report with an earlier one of the same benchmark.

use std::path::Path;

use serde_json::Value;

use super::report::Report;
use crate::{
    cli::{
        error::{CliError, Result},
        human,
        output::Output,
    },
    sys::files,
};

/// The largest report that is read.
const REPORT_BYTES_MAX: u64 = 1024 * 1024;

/// A number of both reports.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    name: &'static str,
    before: u64,
    now: u64,
    worse: bool,
}

/// What became better or worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    comparisons: Vec<Comparison>,
    tolerance: u64,
}

/// Compares a report with the one in a file.
///
/// In a closed loop throughput counts, as latency follows from it and the window. At a fixed rate latency counts.
pub(super) fn compare(report: &Report, path: &Path, tolerance: u64) -> Result<Verdict> {
    let about = |what: String| CliError::usage(format!("{}: {what}", path.display()));
    let bytes = files::read_file(path, REPORT_BYTES_MAX).map_err(|error| CliError::chain(&error))?;
    let before: Value = serde_json::from_slice(&bytes).map_err(|error| {
        about(format!("it is not a report: {error}")).hint("`ensign bench … -o json > FILE` writes one")
    })?;
    verdict(&before, &report.json(), tolerance).map_err(about)
}

fn verdict(before: &Value, now: &Value, tolerance: u64) -> std::result::Result<Verdict, String> {
    for name in ["benchmark", "setting"] {
        if before[name] != now[name] {
            return Err(format!("it is of another benchmark: its {name} is {} and not {}", before[name], now[name]));
        }
    }
    let number = |report: &Value, pointer: &str| {
        report.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| format!("it has no number at {pointer}"))
    };
    let compare = |name, pointer, more_is_better: bool| {
        let (before, now) = (number(before, pointer)?, number(now, pointer)?);
        let share = |value: u64, percent: u64| u128::from(value) * u128::from(percent);
        let worse = if more_is_better {
            // So that a tenth more time and a tenth less speed are about the same thing.
            share(now, 100 + tolerance) < share(before, 100)
        } else {
            share(now, 100) > share(before, 100 + tolerance)
        };
        Ok::<_, String>(Comparison { name, before, now, worse })
    };
    let comparisons = match now["setting"].get("rate") {
        Some(_) => vec![
            compare("p50 latency in µs", "/latency_us/p50", false)?,
            compare("p99 latency in µs", "/latency_us/p99", false)?,
        ],
        None => vec![compare("events/s", "/events_per_second", true)?],
    };
    Ok(Verdict { comparisons, tolerance })
}

impl Verdict {
    /// Says how the numbers changed; an error when one is worse than is tolerated.
    pub(super) fn settle(&self, output: &Output) -> Result<()> {
        for Comparison { name, before, now, .. } in &self.comparisons {
            output.note(&format!("{name}: {} before, {} now", human::count(*before), human::count(*now)));
        }
        match self.comparisons.iter().find(|comparison| comparison.worse) {
            Some(Comparison { name, before, now, .. }) => Err(CliError::check_failed(format!(
                "{name} went from {} to {}, which is more than {} % worse",
                human::count(*before),
                human::count(*now),
                self.tolerance
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed(events_per_second: u64) -> Value {
        json!({ "benchmark": "publish", "setting": { "size": 1 }, "events_per_second": events_per_second })
    }

    fn open(p50: u64, p99: u64) -> Value {
        json!({ "benchmark": "publish", "setting": { "rate": 9 }, "latency_us": { "p50": p50, "p99": p99 } })
    }

    fn is_worse(before: &Value, now: &Value, tolerance: u64) -> bool {
        verdict(before, now, tolerance).unwrap().comparisons.iter().any(|comparison| comparison.worse)
    }

    #[test]
    fn what_is_worse_by_more_than_the_tolerance() {
        assert!(!is_worse(&closed(110), &closed(100), 10));
        assert!(is_worse(&closed(111), &closed(100), 10));
        assert!(!is_worse(&closed(1), &closed(2), 0));
        assert!(!is_worse(&open(100, 300), &open(110, 330), 10));
        assert!(is_worse(&open(100, 300), &open(111, 300), 10));
        assert!(is_worse(&open(100, 300), &open(10, 331), 10));
    }

    #[test]
    fn other_benchmarks_are_no_baseline() {
        assert_eq!(
            verdict(&closed(1), &open(1, 1), 10).unwrap_err(),
            r#"it is of another benchmark: its setting is {"size":1} and not {"rate":9}"#
        );
        assert_eq!(
            verdict(&json!({}), &closed(1), 1).unwrap_err().split(':').next(),
            Some("it is of another benchmark")
        );
        let empty = json!({ "benchmark": "publish", "setting": { "size": 1 } });
        assert_eq!(verdict(&empty, &closed(1), 1).unwrap_err(), "it has no number at /events_per_second");
    }
}
