//! Reading topics alone, each with a subscription of its own.

use std::{pin::pin, time::Duration};

use tokio::sync::mpsc;

use super::{Args, finish};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human,
        output::EventWriter,
    },
    client::{ClientError, Delivery, Opener, Subscriber},
};

/// What a subscription has to say, and which one it is.
type Report = (usize, std::result::Result<Delivery, ClientError>);

impl Args {
    pub(super) async fn follow(&self, context: &mut Context, writer: &mut EventWriter) -> Result<()> {
        let openers: Result<Vec<Opener>> =
            self.topics.iter().filter(|_| self.decrypt).map(|topic| self.opener(context, topic)).collect();
        let openers = openers?;
        let client = context.connect_with_key("subscriber").await?;
        let mut names = Vec::new();
        let mut subscribers = Vec::new();
        for topic in &self.topics {
            let subscriber = self.range.open(&client, topic, self.skip_unreadable).await?;
            names.push(subscriber.topic().to_owned());
            subscribers.push(subscriber);
        }
        let mut reports = spawn(subscribers);
        let result = self.read(context, writer, &names, &openers, &mut reports).await;
        finish(context, writer, result)
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
