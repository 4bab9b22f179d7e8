//! What a benchmark found out, for people and for machines.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    LoadArgs,
    disk::DiskReadings,
    group::{Comparison, GroupArgs},
    meter::{Latencies, PERCENTILES, Readings},
    publish::Loop,
    query::{Answered, QueryArgs},
    tail::TailArgs,
};
use crate::{
    cli::{human, output::Detail},
    client::{Client, ServerStatus},
    model::Durability,
};

/// The account of one benchmark.
#[derive(Debug, Clone)]
pub(super) struct Report {
    benchmark: &'static str,
    topic: String,
    /// What two reports must have in common to be comparable.
    setting: Map<String, Value>,
    readings: Readings,
    /// How long events took to subscribers.
    delivered: Option<Readings>,
    /// What a plain subscription was given, where that is what the readings are measured by.
    plain: Option<Readings>,
    /// How many deliveries were not the first of their events.
    again: Option<u64>,
    /// How many results a query gave.
    results: Option<u64>,
    server: Option<(String, ServerStatus)>,
    disk: Option<DiskReadings>,
}

impl Report {
    fn new(benchmark: &'static str, topic: &str, setting: Map<String, Value>, readings: Readings) -> Report {
        Report {
            benchmark,
            topic: topic.to_owned(),
            setting,
            readings,
            delivered: None,
            plain: None,
            again: None,
            results: None,
            server: None,
            disk: None,
        }
    }

    pub(super) fn of_publishing(
        benchmark: &'static str,
        args: &LoadArgs,
        sending: Loop,
        readings: Readings,
        delivered: Option<Readings>,
    ) -> Report {
        let mut setting = Map::new();
        if let Some(file) = &args.file {
            setting.insert("file".to_owned(), json!(file.display().to_string()));
        } else {
            setting.insert("content".to_owned(), json!(args.content.name()));
            setting.insert("size".to_owned(), json!(args.size));
        }
        setting.insert("streams".to_owned(), json!(args.streams));
        setting.insert("topics".to_owned(), json!(args.topics));
        match sending {
            Loop::Closed { window } => setting.insert("window".to_owned(), json!(window)),
            Loop::Open { rate } => setting.insert("rate".to_owned(), json!(rate)),
        };
        Report { delivered, ..Report::new(benchmark, &args.topic, setting, readings) }
    }

    pub(super) fn of_tail(args: &TailArgs, readings: Readings) -> Report {
        let setting = [("streams", args.streams), ("topics", args.topics)];
        let setting = setting.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        Report::new("tail", &args.topic, setting, readings)
    }

    pub(super) fn of_groups(topic: &str, args: &GroupArgs, readings: Readings, comparison: Comparison) -> Report {
        let Value::Object(setting) = args.setting() else { unreachable!("it is an object") };
        let Comparison { plain, again } = comparison;
        Report { plain: Some(plain), again: Some(again), ..Report::new("group", topic, setting, readings) }
    }

    pub(super) fn of_query(topic: &str, args: &QueryArgs, readings: Readings, answered: Answered) -> Report {
        let setting = [("query".to_owned(), json!(args.query()))].into_iter().collect();
        let Answered { results, plain } = answered;
        Report { plain: Some(plain), results: Some(results), ..Report::new("query", topic, setting, readings) }
    }

    pub(super) fn on_server(self, client: &Client, status: ServerStatus) -> Report {
        Report { server: Some((client.endpoint().address().to_string(), status)), ..self }
    }

    pub(super) fn on_disk(self, disk: DiskReadings) -> Report {
        Report { disk: Some(disk), ..self }
    }

    /// How many a second.
    fn per_second(&self, number: u64) -> u64 {
        per_second(number, &self.readings)
    }

    /// What was measured in a second, in thousandths of what a plain subscription was.
    fn thousandths(&self, plain: &Readings) -> u64 {
        self.per_second(self.readings.events).saturating_mul(1_000) / per_second(plain.events, plain).max(1)
    }

    pub(super) fn json(&self) -> Value {
        let readings = &self.readings;
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        put("benchmark", json!(self.benchmark));
        put("topic", json!(self.topic));
        put("setting", Value::Object(self.setting.clone()));
        put("events", json!(readings.events));
        put("bytes", json!(readings.bytes));
        put("seconds", json!(readings.elapsed.as_secs_f64()));
        put("events_per_second", json!(self.per_second(readings.events)));
        put("bytes_per_second", json!(self.per_second(readings.bytes)));
        put("latency_us", readings.latencies.json());
        if let Some(delivered) = &self.delivered {
            put("delivery_latency_us", delivered.latencies.json());
        }
        if let Some(results) = self.results {
            put("results", json!(results));
        }
        if let Some(plain) = &self.plain {
            let seconds = plain.elapsed.as_secs_f64();
            let rate = per_second(plain.events, plain);
            put("plain", json!({ "events": plain.events, "seconds": seconds, "events_per_second": rate }));
            put("ratio", json!(Duration::from_millis(self.thousandths(plain)).as_secs_f64()));
        }
        if let Some(again) = self.again {
            put("delivered_again", json!(again));
        }
        if let Some((address, status)) = &self.server {
            let durability = status.durability.map(Durability::name);
            put("server", json!({ "endpoint": address, "version": status.version, "durability": durability }));
        }
        if let Some(disk) = &self.disk {
            put("disk", disk.json());
        }
        Value::Object(object)
    }

    pub(super) fn detail(&self) -> Detail {
        let readings = &self.readings;
        let setting: Vec<String> =
            self.setting.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
        let mut fields = vec![
            ("benchmark", format!("{} {} ({})", self.benchmark, self.topic, setting.join(", "))),
            ("events", human::count(readings.events)),
            ("bytes", human::bytes(readings.bytes)),
            ("time", human::duration(readings.elapsed)),
            ("events/s", human::count(self.per_second(readings.events))),
            ("bytes/s", human::bytes(self.per_second(readings.bytes))),
            (
                if matches!(self.benchmark, "tail" | "group" | "query") { "wait" } else { "ack" },
                line(&readings.latencies),
            ),
        ];
        if let Some(delivered) = &self.delivered {
            fields.push(("delivery", line(&delivered.latencies)));
        }
        if let Some(results) = self.results {
            fields.push(("results", human::count(results)));
        }
        if let Some(plain) = &self.plain {
            let thousandths = self.thousandths(plain);
            let rate = human::count(per_second(plain.events, plain));
            fields.push(("plain", format!("{rate} events/s through a plain subscription")));
            fields.push(("ratio", format!("{}.{:03} of plain", thousandths / 1_000, thousandths % 1_000)));
        }
        if let Some(again) = self.again {
            fields.push(("again", human::counted(again, "event")));
        }
        if let Some((address, status)) = &self.server {
            let durability = status.durability.map_or("unknown", Durability::name);
            fields.push(("server", format!("{address}, version {}, durability {durability}", status.version)));
        }
        if let Some(disk) = &self.disk {
            fields.push(("fdatasync", format!("{}, in {}", line(&disk.latencies), disk.dir.display())));
        }
        Detail { fields, value: self.json() }
    }
}

fn per_second(number: u64, readings: &Readings) -> u64 {
    let nanos = readings.elapsed.as_nanos().max(1);
    u64::try_from(u128::from(number) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Percentiles in one line.
fn line(latencies: &Latencies) -> String {
    let percentiles =
        PERCENTILES.iter().map(|(_, percentile)| (format!("p{percentile}"), latencies.micros(*percentile)));
    let all = percentiles.chain([("max".to_owned(), latencies.max_micros())]);
    all.map(|(name, micros)| format!("{name} {}", micros_text(micros))).collect::<Vec<_>>().join(", ")
}

/// `740 µs`, `12.3 ms`, `4.56 s`.
fn micros_text(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_written_as_people_read_them() {
        assert_eq!(micros_text(740), "740 µs");
        assert_eq!(micros_text(12_345), "12.3 ms");
        assert_eq!(micros_text(4_567_890), "4.56 s");
        assert_eq!(line(&Latencies::new()), "p50 0 µs, p90 0 µs, p99 0 µs, p99.9 0 µs, p99.99 0 µs, max 0 µs");
    }
}
