//! Events on their way into an archive: read here, topic by topic, and written by a thread of its own.
//!
//! What waits between the two is bounded, so a slow disk slows the reading down.

use std::{
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    RETRY_FOR,
    file::Sink,
    line::{End, Gap, Topic},
    plan::Survey,
    writer::{ArchiveWriter, WriteError},
};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human,
        progress::ProgressLine,
        record,
    },
    client::{Client, ClientError, Delivery, Event, Subscriber, SubscriberOptions, Wanted},
    model::{Offset, Position},
};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// How many deliveries may wait to be written.
const PIECES_MAX: usize = 2;

/// What the thread that writes is told.
enum Piece {
    Events(Vec<Event>),
    Gap(Gap),
    TopicEnd,
    /// Everything has been read.
    End,
}

/// How far the writing is.
#[derive(Debug, Default)]
struct Meter {
    /// Events, with those that are left out.
    passed: AtomicU64,
    bytes: AtomicU64,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) end: End,
    pub(super) bytes: u64,
}

/// What is read, and where from.
pub(super) struct Transfer {
    pub(super) client: Client,
    pub(super) survey: Survey,
    pub(super) skip_unreadable: bool,
    /// The record that the archive ends with already, if it does.
    pub(super) last: Vec<u8>,
}

impl Transfer {
    /// Reads what the archive lacks, until it has everything.
    pub(super) async fn run(self, context: &Context, writer: ArchiveWriter<Sink>, path: &Path) -> Result<Written> {
        let course = writer.course().clone();
        let meter = Arc::new(Meter::default());
        let line = ProgressLine::new(&context.output, Some(course.planned()));
        let (pieces, inbox) = mpsc::channel(PIECES_MAX);
        let written = spawn(writer, inbox, meter.clone(), path);
        let started = context.clock.elapsed();
        let show = || {
            let (passed, bytes) = (meter.passed.load(Ordering::Relaxed), meter.bytes.load(Ordering::Relaxed));
            let elapsed = context.clock.elapsed().saturating_sub(started);
            line.show(passed, || {
                let (of, rate) =
                    (human::count(course.planned()), human::rate(passed.saturating_sub(course.passed()), elapsed));
                format!("{} of {of} events, {}, {rate}/s", human::count(passed), human::bytes(bytes))
            });
        };
        let read = async {
            let mut next = Some(course.next());
            for topic in course.topics().iter().skip(course.at()) {
                let first = next.take().unwrap_or(topic.first);
                self.read(context, topic, first, &pieces).await?;
            }
            give(&pieces, Piece::End).await
        };
        let ended = {
            let mut read = pin!(read);
            let mut interrupt = pin!(tokio::signal::ctrl_c());
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut interrupt => break Err(CliError::interrupted()),
                    ended = &mut read => break ended,
                    _ = tick.tick() => show(),
                }
            }
        };
        drop(pieces);
        let written = written.await.expect("the thread that writes answers");
        line.clear();
        // When writing failed, nothing could be read any more.
        let written = written?;
        ended?;
        Ok(written.expect("the writing ends when it is told to"))
    }

    /// Reads a topic from an offset on.
    async fn read(&self, context: &Context, topic: &Topic, first: u64, pieces: &mpsc::Sender<Piece>) -> Result<()> {
        let about = |error| not_read(error, topic);
        let definition = self.survey.topic_of(topic).ok_or_else(|| changed(&topic.name))?;
        // The record before is asked for once more, to see that the topic is still what it was.
        let mut known = self.known(topic, first);
        let from = if known.is_some() { first - 1 } else { first };
        let mut next = first;
        let (_, last_id) = self.survey.end(definition.id);
        if let Some(last_id) = last_id.filter(|_| next <= topic.last) {
            let options = SubscriberOptions {
                topics: vec![topic.name.clone()],
                from: Position::Offset(Offset::new(from)),
                until: Some(Position::Event(last_id.plus(1))),
                retry_for: Some(RETRY_FOR),
                skip_unreadable: self.skip_unreadable,
                wanted: Wanted::default(),
            };
            let mut subscriber = Subscriber::open(&self.client, options).await.map_err(about)?;
            while next <= topic.last {
                match subscriber.next().await.map_err(about)? {
                    Delivery::Events(mut events) => {
                        if let Some(known) = known.take().filter(|_| events[0].offset.get() < first) {
                            check(&events.remove(0), known, topic)?;
                        }
                        let wanted = events.partition_point(|event| event.offset.get() <= topic.last);
                        events.truncate(wanted);
                        next = self.give_events(context, pieces, topic, events, next).await?;
                    }
                    Delivery::Interrupted { reason } => context.output.note(&format!("{reason}; connecting again")),
                    // What was left out is seen by what comes behind it.
                    Delivery::Skipped { .. } | Delivery::SkippedMore { .. } => {}
                    Delivery::Ended if self.skip_unreadable => {
                        give_gap(context, pieces, topic, next, topic.last).await?;
                        next = topic.last + 1;
                    }
                    Delivery::Ended | Delivery::Lost { .. } => return Err(changed(&topic.name)),
                }
            }
        }
        give(pieces, Piece::TopicEnd).await
    }

    /// Gives events and the gaps before and between them; gives the offset that is next.
    async fn give_events(
        &self,
        context: &Context,
        pieces: &mpsc::Sender<Piece>,
        topic: &Topic,
        mut events: Vec<Event>,
        mut next: u64,
    ) -> Result<u64> {
        while let Some(first) = events.first() {
            let first = first.offset.get();
            if first > next && self.skip_unreadable {
                give_gap(context, pieces, topic, next, first - 1).await?;
            }
            let run = events.iter().zip(first..).take_while(|(event, offset)| event.offset.get() == *offset).count();
            let rest = events.split_off(run);
            next = first + run as u64;
            give(pieces, Piece::Events(events)).await?;
            events = rest;
        }
        Ok(next)
    }

    /// The record that the archive ends with, if it is that of the event before this offset.
    fn known(&self, topic: &Topic, first: u64) -> Option<&[u8]> {
        let mut start = Vec::new();
        record::put_start(&topic.name, &mut start);
        start.extend_from_slice(format!("{},", first - 1).as_bytes());
        Some(&self.last[..]).filter(|last| last.starts_with(&start))
    }
}

/// Compares an event with the record that an archive has of it.
fn check(event: &Event, known: &[u8], topic: &Topic) -> Result<()> {
    let publisher = event.publisher.as_ref().map_or_else(String::new, |publisher| record::publisher(publisher));
    let mut line = Vec::new();
    record::put_start(&topic.name, &mut line);
    record::put_rest(event, &publisher, &mut line);
    if line == known { Ok(()) } else { Err(changed(&topic.name)) }
}

async fn give(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<()> {
    // Why nobody takes it any more, the thread that writes says.
    pieces.send(piece).await.map_err(|_| CliError::failed("the archive can't be written"))
}

async fn give_gap(context: &Context, pieces: &mpsc::Sender<Piece>, topic: &Topic, first: u64, last: u64) -> Result<()> {
    let events = human::counted(last - first + 1, "event");
    let why = "their data key is suspended or revoked";
    context.output.note(&format!("topic {}: {events} left out, offsets {first} to {last}: {why}", topic.name));
    give(pieces, Piece::Gap(Gap { topic: topic.name.clone(), first, last })).await
}

/// Starts the thread that writes; it ends with the pieces, and gives what it wrote when they have an end.
fn spawn(
    writer: ArchiveWriter<Sink>,
    mut inbox: mpsc::Receiver<Piece>,
    meter: Arc<Meter>,
    path: &Path,
) -> oneshot::Receiver<Result<Option<Written>>> {
    let (answer, written) = oneshot::channel();
    let path = path.to_owned();
    let work = move || {
        // Whoever does not wait for the answer does not need it.
        drop(answer.send(write(writer, &mut inbox, &meter, &path)));
    };
    std::thread::Builder::new().name("archive".to_owned()).spawn(work).expect("the process can have a second thread");
    written
}

fn write(
    mut writer: ArchiveWriter<Sink>,
    inbox: &mut mpsc::Receiver<Piece>,
    meter: &Meter,
    path: &Path,
) -> Result<Option<Written>> {
    let about = |error| not_written(path, error);
    while let Some(piece) = inbox.blocking_recv() {
        match piece {
            Piece::Events(events) => events.iter().try_for_each(|event| writer.event(event)),
            Piece::Gap(gap) => writer.gap(gap),
            Piece::TopicEnd => writer.end_topic(),
            Piece::End => {
                let (sink, end, bytes) = writer.finish().map_err(about)?;
                sink.finish()?;
                return Ok(Some(Written { end, bytes }));
            }
        }
        .map_err(about)?;
        meter.passed.store(writer.course().passed(), Ordering::Relaxed);
        meter.bytes.store(writer.written(), Ordering::Relaxed);
    }
    Ok(None)
}

/// An archive that can't be written.
pub(super) fn not_written(path: &Path, error: WriteError) -> CliError {
    match error {
        WriteError::Io(error) if path.as_os_str() == "-" => CliError::output(&error),
        WriteError::Io(error) => CliError::failed(format!("could not write {}: {error}", path.display())),
        WriteError::Unexpected(_) => CliError::failed(error.to_string()),
    }
}

/// A topic that is not what it was when the archive was begun.
pub(super) fn changed(topic: &str) -> CliError {
    CliError::failed(format!("topic {topic} no longer holds what was to be exported"))
        .hint("--start-over exports what is there now")
}

/// A topic whose events can't be read.
fn not_read(error: ClientError, topic: &Topic) -> CliError {
    let is_closed = error.to_string().contains("data key");
    let error = CliError::from(error).about(format!("topic {}", topic.name));
    if is_closed { error.hint("--skip-unreadable leaves these events out, and the archive says which") } else { error }
}
