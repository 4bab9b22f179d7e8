//! Reading as a member of a consumer group: what is written is acked, by the output or by whom standard input speaks for.

use std::{collections::HashMap, pin::pin, time::Duration};

use tokio::sync::mpsc;

use super::{
    Args, finish,
    membership::{Acking, Joined, note_refused},
    verdicts::{self, Verdict},
};
use crate::{
    cli::{
        Context,
        decryption::Decryptor,
        error::{CliError, Kind, Result},
        output::EventWriter,
    },
    client::{Event, GroupDelivery, Lease, Settled},
    model::{Rlid, TopicId},
};

impl Args {
    pub(super) async fn take_part(&self, context: &mut Context, writer: &mut EventWriter, group: &str) -> Result<()> {
        let client = context.connect_with_key("subscriber").await?;
        let joined = self.membership.join(context, &client, group, self).await?;
        let left = self.range.limit.unwrap_or(u64::MAX);
        let mut member = Member { args: self, joined, left, awaited: HashMap::new(), topics: HashMap::new() };
        let mut result = member.read(context, writer).await;
        if result.as_ref().err().is_none_or(|error| error.kind == Kind::Interrupted) {
            // What was acked is to count.
            let left = member.joined.leave(context).await;
            result = result.and(left);
        }
        finish(context, writer, result)
    }
}

/// A member while it reads.
struct Member<'a> {
    args: &'a Args,
    joined: Joined,
    /// How many events are still to be written.
    left: u64,
    /// What was written and waits for a verdict of standard input. What is bounded by the group's window bounds it.
    awaited: HashMap<Rlid, Lease>,
    /// The name of each topic, and what decrypts its events.
    topics: HashMap<TopicId, (String, Option<Decryptor>)>,
}

impl Member<'_> {
    /// Writes what comes, and settles it, until something says that it is over.
    async fn read(&mut self, context: &mut Context, writer: &mut EventWriter) -> Result<()> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let idle = self.args.range.idle.map_or(Duration::MAX, |span| span.0);
        let mut lines = (self.args.membership.ack == Acking::Manual).then(verdicts::lines);
        while self.left > 0 || !self.awaited.is_empty() {
            tokio::select! {
                delivery = self.joined.next() => self.take(context, writer, delivery?).await?,
                line = next_line(&mut lines) => match line {
                    Some(line) => self.judge(context, &line),
                    // Nobody can settle anything any more.
                    None => return Ok(()),
                },
                _ = &mut interrupt => return Err(CliError::interrupted()),
                () = context.clock.sleep(idle) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn take(&mut self, context: &mut Context, writer: &mut EventWriter, delivery: GroupDelivery) -> Result<()> {
        match delivery {
            GroupDelivery::Events { lease, mut events } => {
                events.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= events.len() as u64;
                let ids: Vec<Rlid> = events.iter().map(|event| event.id).collect();
                for event in events {
                    self.write(context, writer, event).await?;
                }
                // What is not out yet was not read by anyone.
                context.output.flush()?;
                match self.args.membership.ack {
                    Acking::Auto => drop(self.joined.subscriber.ack(lease, ids)),
                    Acking::Manual => self.awaited.extend(ids.into_iter().map(|id| (id, lease))),
                    Acking::None => {}
                }
            }
            GroupDelivery::Receipt { refused, .. } => note_refused(context, &refused),
            GroupDelivery::Interrupted { reason } => {
                // Others get what was written and not acked, or we do, again.
                self.awaited.clear();
                context.output.note(&format!("{reason}; connecting again"));
            }
            GroupDelivery::Ended => self.left = 0,
        }
        Ok(())
    }

    async fn write(&mut self, context: &mut Context, writer: &mut EventWriter, mut event: Event) -> Result<()> {
        if !self.topics.contains_key(&event.topic) {
            let name = self.joined.topic_name(&event.topic).await;
            let decryptor = self.args.decryption.decryptor(context, &name)?;
            self.topics.insert(event.topic, (name, decryptor));
        }
        let (name, decryptor) = &self.topics[&event.topic];
        if let Some(decryptor) = decryptor {
            decryptor.open(&mut event)?;
        }
        writer.write(&mut context.output, &event, name)
    }

    /// Does what a line of standard input says.
    fn judge(&mut self, context: &Context, line: &str) {
        let (id, verdict) = match verdicts::parse(line) {
            Ok(said) => said,
            Err(reason) => return context.output.note(&format!("standard input: {reason}")),
        };
        let Some(lease) = self.awaited.remove(&id) else {
            return context.output.note(&format!("standard input: {id} waits for no verdict"));
        };
        let settled = match verdict {
            Verdict::Ack => self.joined.subscriber.ack(lease, [id]),
            Verdict::Nack(code) => self.joined.subscriber.nack(lease, [id], code),
        };
        if settled == Settled::Lost {
            context.output.note(&format!("{id} comes again: the connection broke before it was settled"));
        }
    }
}

/// The next line, when there are lines to wait for; none at their end.
async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
