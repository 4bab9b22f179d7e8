//! Numbers that others keep, read when the metrics are asked for.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

/// How many things took how long.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// Each bucket's upper bound in seconds, and how many took longer than the bucket before and not longer than this
    /// one. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum_seconds: f64,
}

/// One of several numbers of one name: its labels, and the number.
pub type Labelled = (Vec<(&'static str, String)>, u64);

type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

pub(super) enum Source {
    Counter(Read<u64>),
    Gauge(Read<u64>),
    Gauges(Read<Vec<Labelled>>),
    Times(Read<Times>),
}

struct Observed {
    name: &'static str,
    help: &'static str,
    source: Source,
}

/// All that is observed; the list only grows.
#[derive(Default)]
pub(super) struct Observations(Mutex<Vec<Observed>>);

impl Observations {
    pub(super) fn add(&self, name: &'static str, help: &'static str, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Observed { name, help, source });
    }
}

impl Collector for Observations {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for Observed { name, help, source } in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match source {
                Source::Counter(read) => encoder
                    .encode_descriptor(name, help, None, MetricType::Counter)?
                    .encode_counter::<NoLabelSet, _, u64>(&read(), None)?,
                Source::Gauge(read) => {
                    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&gauge(read()))?;
                }
                Source::Gauges(read) => {
                    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    for (labels, value) in read() {
                        family.encode_family(&labels)?.encode_gauge(&gauge(value))?;
                    }
                }
                Source::Times(read) => {
                    let times = read();
                    let count = times.buckets.iter().map(|(_, count)| count).sum();
                    encoder
                        .encode_descriptor(name, help, None, MetricType::Histogram)?
                        .encode_histogram::<NoLabelSet>(times.sum_seconds, count, &times.buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl fmt::Debug for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(observed.iter().map(|observed| observed.name)).finish()
    }
}
