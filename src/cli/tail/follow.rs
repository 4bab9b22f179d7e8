//! Reading topics alone, all of them with one subscription.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Args, finish};
use crate::{
    cli::{
        Context,
        decryption::Decryptor,
        error::{CliError, Result},
        human,
        output::EventWriter,
    },
    client::{ClientError, Delivery, Subscriber},
    model::TopicId,
};

/// What the subscription has to say.
type Report = std::result::Result<Delivery, ClientError>;

/// The topics that are read: their names and what decrypts their events, if that is wanted.
struct Topics {
    known: HashMap<TopicId, (String, Option<Decryptor>)>,
    /// The names of those that have been destroyed.
    lost: Vec<String>,
}

impl Topics {
    fn name(&self, topic: TopicId) -> &str {
        self.known.get(&topic).map_or("", |(name, _)| name)
    }

    /// What it is that has ended.
    fn subject(&self) -> String {
        let mut names: Vec<&str> = self.known.values().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        format!("topic{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
    }
}

impl Args {
    pub(super) async fn follow(&self, context: &mut Context, writer: &mut EventWriter) -> Result<()> {
        // Once for each name, as the subscription has them.
        let mut once = HashSet::new();
        let named = self.topics.iter().filter(|topic| once.insert(*topic));
        let decryptors: Result<Vec<_>> = named.map(|topic| self.decryption.decryptor(context, topic)).collect();
        let decryptors = decryptors?;
        let client = context.connect_with_key("subscriber").await?;
        let subscriber = self.range.open(&client, &self.topics, self.skip_unreadable).await?;
        let known =
            subscriber.topics().zip(decryptors).map(|((id, name), decryptor)| (id, (name.to_owned(), decryptor)));
        let mut topics = Topics { known: known.collect(), lost: Vec::new() };
        let mut reports = spawn(subscriber);
        let result = self.read(context, writer, &mut topics, &mut reports).await;
        finish(context, writer, result)
    }

    /// Writes what comes until something says that it is over.
    async fn read(
        &self,
        context: &mut Context,
        writer: &mut EventWriter,
        topics: &mut Topics,
        reports: &mut mpsc::Receiver<Report>,
    ) -> Result<()> {
        let mut left = self.range.limit.unwrap_or(u64::MAX);
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let idle = self.range.idle.map_or(Duration::MAX, |span| span.0);
        while left > 0 {
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
            let Some(report) = report else {
                return Ok(());
            };
            match report.map_err(|error| CliError::from(error).about(topics.subject()))? {
                Delivery::Ended => return topics.lost.first().map_or(Ok(()), |name| Err(destroyed(name))),
                Delivery::Skipped { topic, first, last } => {
                    let what = format!("topic {}: {}", topics.name(topic), human::counted(last - first + 1, "event"));
                    note_skipped(context, &what, &format!(", offsets {first} to {last}"))?;
                }
                Delivery::SkippedMore { events } => {
                    let what = format!("{}: {}", topics.subject(), human::counted(events, "event"));
                    note_skipped(context, &what, "")?;
                }
                Delivery::Lost { topic } => {
                    context.output.flush()?;
                    let (name, _) = topics.known.remove(&topic).unwrap_or_default();
                    context.output.note(&format!("topic {name} has been destroyed"));
                    topics.lost.push(name);
                }
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
                        let Some((name, decryptor)) = topics.known.get(&event.topic) else { continue };
                        if let Some(decryptor) = decryptor {
                            decryptor.open(&mut event)?;
                        }
                        writer.write(&mut context.output, &event, name)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn note_skipped(context: &mut Context, what: &str, place: &str) -> Result<()> {
    context.output.flush()?;
    context.output.note(&format!("{what} left out{place}: their data key is suspended or revoked"));
    Ok(())
}

fn destroyed(topic: &str) -> CliError {
    CliError::not_found(format!("topic {topic} has been destroyed"))
}

/// Reads the subscription while what has come is written. The task ends with the receiver, and with the runtime.
fn spawn(mut subscriber: Subscriber) -> mpsc::Receiver<Report> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let delivery = subscriber.next().await;
            let over = matches!(delivery, Err(_) | Ok(Delivery::Ended));
            if sender.send(delivery).await.is_err() || over {
                return;
            }
        }
    });
    receiver
}
