//! `ensign tail`: events as they come, and from any point in the past.

use std::{pin::pin, time::Duration};

use clap_complete::ArgValueCandidates;
use tokio::sync::mpsc;

use super::{
    Context, complete,
    error::{CliError, Kind, Result},
    human,
    output::EventWriter,
    range::{self, Range},
    topic_keys,
};
use crate::client::{ClientError, Delivery, Event, OpenFailure, Opener, Subscriber};

/// Show events as they come, and from any point in the past
///
/// Follows the topics until it is interrupted, or until --until, -n or --idle say that it is over. When the connection
/// breaks, it is made again and the output goes on behind the last event, without a gap or a repetition.
///
/// On a terminal events are shown as a table, otherwise as JSON lines (-o jsonl), which `ensign publish` takes back
/// without losing anything. With -o raw each event's data is followed by an end of line and by nothing else: what was
/// published line by line comes out as it was, with an end of line behind the last line also where the file had none.
/// Data that itself holds ends of lines can't be told apart in that form; use -o jsonl for it.
///
/// Events whose data is encrypted with a topic key are shown as such, unless --decrypt is given; with -o jsonl they can be
/// published again as they are. --decrypt stops with an error at an event that it can't decrypt, that was changed,
/// or that is not encrypted.
#[derive(Debug, clap::Args)]
#[command(mut_arg("from", |from| from.default_value("end")))]
#[command(after_help = format!("Examples:
  $ ensign tail flights --from start
  $ ensign tail orders payments --from -15m -o 'template={{topic}} {{offset}} {{data}}'
  $ ensign tail flights --from start --until now -o jsonl > flights.backup.jsonl
  $ ensign tail orders --from start --decrypt

{}", range::POSITIONS))]
pub(super) struct Args {
    /// The topics, by name or id
    #[arg(required = true, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topics: Vec<String>,

    #[command(flatten)]
    range: Range,

    /// Leave out events under a suspended or revoked data key, instead of ending there with an error
    #[arg(long)]
    skip_unreadable: bool,

    /// Decrypt the data of events with the topic keys that are here
    #[arg(long)]
    decrypt: bool,

    /// Show also events that are not encrypted
    #[arg(long, requires = "decrypt")]
    allow_unencrypted: bool,

    /// Decrypt what was encrypted for this topic and published again
    #[arg(long, value_name = "TOPIC", requires = "decrypt", add = ArgValueCandidates::new(complete::topics_with_keys))]
    encrypted_for: Option<String>,
}

/// What a subscription has to say, and which one it is.
type Report = (usize, std::result::Result<Delivery, ClientError>);

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| self.follow(context).await)
    }

    async fn follow(self, context: &mut Context) -> Result<()> {
        let mut writer = EventWriter::new(&context.output, self.topics.len() > 1);
        if self.range.limit == Some(0) {
            writer.finish(&mut context.output)?;
            return context.output.flush();
        }
        let openers = self.openers(context)?;
        let client = context.connect_with_key("subscriber").await?;
        let mut names = Vec::new();
        let mut subscribers = Vec::new();
        for topic in &self.topics {
            let subscriber = self.range.open(&client, topic, self.skip_unreadable).await?;
            names.push(subscriber.topic().to_owned());
            subscribers.push(subscriber);
        }
        let mut reports = spawn(subscribers);
        let result = self.read(context, &mut writer, &names, &openers, &mut reports).await;
        match &result {
            Err(error) if error.kind == Kind::ClosedPipe => {}
            _ => {
                writer.finish(&mut context.output)?;
                context.output.flush()?;
            }
        }
        result
    }

    /// What decrypts each topic's events, as it was named; nothing when they are shown as they are.
    fn openers(&self, context: &Context) -> Result<Vec<Opener>> {
        let opener = |topic: &String| match &self.encrypted_for {
            Some(other) => Ok(topic_keys::opener(context, other)?.anywhere()),
            None => topic_keys::opener(context, topic),
        };
        self.topics.iter().filter(|_| self.decrypt).map(opener).collect()
    }

    /// Writes what comes until something says that it is over.
    async fn read(
        &self,
        context: &mut Context,
        writer: &mut EventWriter,
        names: &[String],
        openers: &[Opener],
        reports: &mut mpsc::Receiver<Report>,
    ) -> Result<()> {
        let mut left = self.range.limit.unwrap_or(u64::MAX);
        let mut open = names.len();
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let idle = self.range.idle.map_or(Duration::MAX, |span| span.0);
        while open > 0 && left > 0 {
            let report = if let Ok(report) = reports.try_recv() {
                Some(report)
            } else {
                // Nothing more is there now: what was gathered has to be seen.
                context.output.flush()?;
                tokio::select! {
                    report = reports.recv() => report,
                    _ = &mut interrupt => return Err(CliError::interrupted()),
                    () = context.clock.sleep(idle) => return Ok(()),
                }
            };
            let Some((index, delivery)) = report else {
                return Ok(());
            };
            match delivery.map_err(|error| CliError::from(error).about(format!("topic {}", names[index])))? {
                Delivery::Ended => open -= 1,
                Delivery::Skipped { first, last } => {
                    let place = format!(", offsets {first} to {last}");
                    note_skipped(context, &names[index], last - first + 1, &place)?;
                }
                Delivery::SkippedMore { events } => note_skipped(context, &names[index], events, "")?,
                Delivery::Interrupted { reason } => {
                    context.output.flush()?;
                    context.output.note(&format!("{reason}; connecting again"));
                }
                Delivery::Events(events) => {
                    for mut event in events {
                        if left == 0 {
                            break;
                        }
                        left -= 1;
                        if let Some(opener) = openers.get(index) {
                            self.decrypt(context, opener, &mut event, &names[index])?;
                        }
                        writer.write(&mut context.output, &event, &names[index])?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Args {
    fn decrypt(&self, context: &Context, opener: &Opener, event: &mut Event, topic: &str) -> Result<()> {
        match opener.open(event) {
            Err(error) if error.failure == OpenFailure::NotEncrypted && self.allow_unencrypted => Ok(()),
            opened => opened.map_err(|error| topic_keys::not_opened(context, &error, topic)),
        }
    }
}

fn note_skipped(context: &mut Context, topic: &str, events: u64, place: &str) -> Result<()> {
    context.output.flush()?;
    let events = human::counted(events, "event");
    let why = "their data key is suspended or revoked";
    context.output.note(&format!("topic {topic}: {events} left out{place}: {why}"));
    Ok(())
}

/// Reads all subscriptions at once. The tasks end with the receiver, and with the runtime.
fn spawn(subscribers: Vec<Subscriber>) -> mpsc::Receiver<Report> {
    let (sender, receiver) = mpsc::channel(1);
    for (index, mut subscriber) in subscribers.into_iter().enumerate() {
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                let delivery = subscriber.next().await;
                let over = matches!(delivery, Err(_) | Ok(Delivery::Ended));
                if sender.send((index, delivery)).await.is_err() || over {
                    return;
                }
            }
        });
    }
    receiver
}
