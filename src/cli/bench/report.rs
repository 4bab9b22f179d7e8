//! What a benchmark found out, for people and for machines.

use serde_json::{Map, Value, json};

use super::{
    LoadArgs,
    disk::DiskReadings,
    meter::{Latencies, PERCENTILES, Readings},
    publish::Loop,
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
    server: Option<(String, ServerStatus)>,
    disk: Option<DiskReadings>,
}

impl Report {
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
        let topic = args.topic.clone();
        Report { benchmark, topic, setting, readings, delivered, server: None, disk: None }
    }

    pub(super) fn of_tail(args: &TailArgs, readings: Readings) -> Report {
        let setting = [("streams", args.streams), ("topics", args.topics)];
        let setting = setting.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let topic = args.topic.clone();
        Report { benchmark: "tail", topic, setting, readings, delivered: None, server: None, disk: None }
    }

    pub(super) fn on_server(self, client: &Client, status: ServerStatus) -> Report {
        Report { server: Some((client.endpoint().address().to_string(), status)), ..self }
    }

    pub(super) fn on_disk(self, disk: DiskReadings) -> Report {
        Report { disk: Some(disk), ..self }
    }

    /// How many a second.
    fn per_second(&self, number: u64) -> u64 {
        let nanos = self.readings.elapsed.as_nanos().max(1);
        u64::try_from(u128::from(number) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
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
            (if self.benchmark == "tail" { "wait" } else { "ack" }, line(&readings.latencies)),
        ];
        if let Some(delivered) = &self.delivered {
            fields.push(("delivery", line(&delivered.latencies)));
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
