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
        condition::{EventCondition, Judgement},
        decryption::Decryptor,
        error::{CliError, Result},
        human,
        output::EventWriter,
        topic_keys,
    },
    client::{ClientError, Delivery, Event, Subscriber, Wanted},
    model::TopicId,
};

/// What the subscription has to say.
type Report = std::result::Result<Delivery, ClientError>;

/// The topics that are read: their names and what decrypts their events, if that is wanted.
struct Topics {
    known: HashMap<TopicId, (String, Option<Decryptor>)>,
    /// The names of those that have been destroyed.
    lost: Vec<String>,
    /// What has to be true for an event to be shown, unless the server looks after that.
    condition: Option<EventCondition>,
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
        let condition = self.condition.as_deref().map(EventCondition::read).transpose()?;
        self.note_what_is_not_seen(context, condition.as_ref());
        // Once for each name, as the subscription has them.
        let mut once = HashSet::new();
        let named = self.topics.iter().filter(|topic| once.insert(*topic));
        let decryptors: Result<Vec<_>> = named.map(|topic| self.decryption.decryptor(context, topic)).collect();
        let decryptors = decryptors?;
        let client = context.connect_with_key("subscriber").await?;
        // What only keys that are here can open is judged here.
        let (condition, wanted) = match condition {
            Some(condition) if !self.decryption.is_wanted() => (None, Wanted::of(condition.text())),
            condition => (condition, Wanted::default()),
        };
        let subscriber = self.range.open(&client, &self.topics, self.skip_unreadable, wanted).await?;
        let known =
            subscriber.topics().zip(decryptors).map(|((id, name), decryptor)| (id, (name.to_owned(), decryptor)));
        let mut topics = Topics { known: known.collect(), lost: Vec::new(), condition };
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
        let mut shown = context.clock.elapsed();
        while left > 0 {
            let report = if let Ok(report) = reports.try_recv() {
                Some(report)
            } else {
                // Nothing more is there now: what was gathered has to be seen.
                context.output.flush()?;
                let patience = idle.saturating_sub(context.clock.elapsed().saturating_sub(shown));
                tokio::select! {
                    report = reports.recv() => report,
                    _ = &mut interrupt => return Err(CliError::interrupted()),
                    () = context.clock.sleep(patience) => return Ok(()),
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
                    let before = left;
                    left -= show(context, writer, topics, events, left)?;
                    let now = context.clock.elapsed();
                    if left < before {
                        shown = now;
                    } else if now.saturating_sub(shown) >= idle {
                        return Ok(());
                    }
                    continue;
                }
            }
            shown = context.clock.elapsed();
        }
        Ok(())
    }

    /// Whoever has the keys of a topic is told that a condition on its data is of no use to the server.
    fn note_what_is_not_seen(&self, context: &Context, condition: Option<&EventCondition>) {
        let looks_blindly = !self.decryption.is_wanted() && condition.is_some_and(EventCondition::wants_data);
        let encrypted = self.topics.iter().find(|topic| looks_blindly && topic_keys::require(context, topic).is_ok());
        if let Some(topic) = encrypted {
            context.output.note(&format!(
                "there is a topic key for topic {topic}: what is encrypted with it does not match; --decrypt evaluates --where here"
            ));
        }
    }
}

/// Writes those of these events that are wanted, up to so many; says how many that were.
fn show(
    context: &mut Context,
    writer: &mut EventWriter,
    topics: &Topics,
    events: Vec<Event>,
    most: u64,
) -> Result<u64> {
    let now = context.clock.now();
    let mut written = 0;
    for mut event in events {
        if written == most {
            break;
        }
        let Some((name, decryptor)) = topics.known.get(&event.topic) else { continue };
        if let Some(decryptor) = decryptor {
            decryptor.open(&mut event)?;
        }
        if topics.condition.as_ref().is_some_and(|condition| condition.judge(&event, now) != Judgement::Met) {
            continue;
        }
        writer.write(&mut context.output, &event, name)?;
        written += 1;
    }
    Ok(written)
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
