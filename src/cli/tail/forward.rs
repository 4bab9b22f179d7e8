//! `ensign tail --forward`: posts each event to an address, one after the other, and tries again until it is taken. A consumer
//! group remembers how far it has come.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    pin::{Pin, pin},
    str::FromStr,
    time::Duration,
};

use super::{
    Args,
    cloud_event::{self, Mode},
    membership::{Joined, note_refused},
};
use crate::{
    cli::{
        Context,
        decryption::Decryptor,
        error::{CliError, Kind, Result},
        human,
    },
    client::{Event, GroupDelivery, Lease, Posted, Webhook, WebhookError},
    model::{NackCode, Rlid, TopicId, murmur3_128},
    sys::{Clock, files},
};

/// How many bytes of events may wait here to be posted; one event alone may be larger.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The first and the longest time between two attempts, unless the receiver asks for a longer one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long an event of a new group stays here: a receiver that is away for a while is no reason to give it to another
/// member. A member that is gone gives its events back at once.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_mins(10);

/// How many events of a topic a new group has under way. They are posted one after the other, so that the last of them waits
/// for all others: its time is not to be over before it is its turn, and a member that is killed is to have failed few.
pub(super) const WINDOW: u32 = 64;

/// How large a file of headers may be.
const HEADER_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The flags about forwarding.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Forwarding")]
pub(super) struct Forwarding {
    /// POST each event to this address, and try again until it is taken; the group is called after the address
    #[arg(long, value_name = "URL", conflicts_with_all = ["until", "ack"], group = "taking_part")]
    pub(super) forward: Option<String>,

    /// How an event becomes a CloudEvent: as a JSON document, or as its data with the rest in headers
    #[arg(long, value_name = "MODE", value_enum, default_value = "structured", requires = "forward")]
    cloud_events: Mode,

    /// A header for each request; can be repeated. Others on this machine can see it: secrets go to --header-file
    #[arg(long = "header", value_name = "NAME: VALUE", requires = "forward")]
    headers: Vec<HeaderArg>,

    /// A file with headers for each request, one a line
    #[arg(long, value_name = "FILE", requires = "forward")]
    header_file: Option<PathBuf>,
}

/// `X-Tenant: 7`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HeaderArg {
    name: String,
    value: String,
}

impl FromStr for HeaderArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<HeaderArg, String> {
        match text.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(HeaderArg { name: name.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err("write it as NAME: VALUE".to_owned()),
        }
    }
}

impl Forwarding {
    /// All headers; a line that is none is named by its number, because what is in it may be secret.
    fn headers(&self) -> Result<Vec<(String, String)>> {
        let mut headers = self.headers.clone();
        if let Some(path) = &self.header_file {
            let failed = |error| CliError::failed(format!("can't read {}: {error}", path.display()));
            let text = files::read_file(path, HEADER_FILE_BYTES_MAX).map_err(failed)?;
            for (line, number) in
                String::from_utf8_lossy(&text).lines().zip(1..).filter(|(line, _)| !line.trim().is_empty())
            {
                let wrong = |error| CliError::usage(format!("{}, line {number}: {error}", path.display()));
                headers.push(line.parse().map_err(wrong)?);
            }
        }
        Ok(headers.into_iter().map(|header| (header.name, header.value)).collect())
    }
}

/// What a group is called that nobody gave a name to.
fn group_of(address: &str) -> String {
    let half = u128::from_be_bytes(murmur3_128(address.as_bytes())) >> 64;
    format!("forward-{half:016x}")
}

impl Args {
    pub(super) async fn forward(&self, context: &mut Context, url: &str) -> Result<()> {
        let headers = self.forwarding.headers()?;
        let client = context.connect_with_key("subscriber").await?;
        let webhook = Webhook::new(client.endpoint(), url, &headers)?;
        let group = self.membership.group.clone().unwrap_or_else(|| group_of(url));
        let joined = self.membership.join(context, &client, &group, self).await?;
        let source = format!("ensign://{}/{}", client.endpoint().address(), client.claims().await?.project);
        let mut run = Forward {
            args: self,
            joined,
            webhook,
            source,
            clock: context.clock.clone(),
            waiting: VecDeque::new(),
            known: HashSet::new(),
            waiting_bytes: 0,
            wait: FIRST_WAIT,
            posting: None,
            forwarded: 0,
            topics: HashMap::new(),
        };
        let result = run.pump(context).await;
        // What was taken is not to be posted again, whatever else went wrong.
        let left = run.joined.leave(context).await;
        let events = human::counted(run.forwarded, "event");
        context.output.note(&format!("forwarded {events} to {}", run.webhook.address()));
        result.and(left)
    }
}

/// One attempt, with the time before it.
type Attempt = Pin<Box<dyn Future<Output = Posted>>>;

struct Forward<'a> {
    args: &'a Args,
    joined: Joined,
    webhook: Webhook,
    source: String,
    clock: Clock,
    /// What was delivered and is not settled, in order; the first one is being posted.
    waiting: VecDeque<(Lease, Event)>,
    known: HashSet<Rlid>,
    waiting_bytes: usize,
    /// How long to wait after the next failure.
    wait: Duration,
    posting: Option<Attempt>,
    forwarded: u64,
    topics: HashMap<TopicId, (String, Option<Decryptor>)>,
}

impl Forward<'_> {
    async fn pump(&mut self, context: &mut Context) -> Result<()> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let idle = self.args.range.idle.map_or(Duration::MAX, |span| span.0);
        let limit = self.args.range.limit.unwrap_or(u64::MAX);
        while self.forwarded < limit {
            self.start(Duration::ZERO)?;
            let has_room = self.waiting_bytes < WAITING_BYTES_MAX;
            let is_idle = self.posting.is_none();
            tokio::select! {
                delivery = self.joined.next(), if has_room => self.take(context, delivery?).await?,
                posted = attempt(&mut self.posting) => {
                    self.posting = None;
                    self.settle(context, posted)?;
                }
                _ = &mut interrupt => return Err(CliError::interrupted()),
                () = self.clock.sleep(idle), if is_idle => return Ok(()),
            }
        }
        Ok(())
    }

    /// Starts posting the first event that waits, after a time, unless it is being posted.
    fn start(&mut self, wait: Duration) -> Result<()> {
        let (None, Some((_, event))) = (&self.posting, self.waiting.front()) else { return Ok(()) };
        let (name, decryptor) = &self.topics[&event.topic];
        let mut event = event.clone();
        if let Some(decryptor) = decryptor {
            decryptor.open(&mut event)?;
        }
        let source = format!("{}/{name}", self.source);
        let post = cloud_event::post(self.args.forwarding.cloud_events, &source, name, &event);
        let (webhook, clock) = (self.webhook.clone(), self.clock.clone());
        self.posting = Some(Box::pin(async move {
            clock.sleep(wait).await;
            webhook.post(post).await
        }));
        Ok(())
    }

    async fn take(&mut self, context: &Context, delivery: GroupDelivery) -> Result<()> {
        match delivery {
            GroupDelivery::Events { lease, events } => {
                for event in events {
                    if !self.topics.contains_key(&event.topic) {
                        let name = self.joined.topic_name(&event.topic).await;
                        let decryptor = self.args.decryption.decryptor(context, &name)?;
                        self.topics.insert(event.topic, (name, decryptor));
                    }
                    if self.known.insert(event.id) {
                        self.waiting_bytes += event.data.len();
                        self.waiting.push_back((lease, event));
                    } else if let Some(known) = self.waiting.iter_mut().find(|(_, known)| known.id == event.id) {
                        // Its time was over, and it came back.
                        known.0 = lease;
                    }
                }
            }
            GroupDelivery::Receipt { refused, .. } => note_refused(context, &refused),
            GroupDelivery::Interrupted { reason } => {
                // They come again, here or elsewhere; the one that is being posted may do so as well.
                while self.waiting.len() > usize::from(self.posting.is_some()) {
                    self.forget(VecDeque::pop_back);
                }
                context.output.note(&format!("{reason}; connecting again"));
            }
            GroupDelivery::Ended => {}
        }
        Ok(())
    }

    fn forget(
        &mut self,
        pop: impl FnOnce(&mut VecDeque<(Lease, Event)>) -> Option<(Lease, Event)>,
    ) -> Option<(Lease, Event)> {
        let (lease, event) = pop(&mut self.waiting)?;
        self.known.remove(&event.id);
        self.waiting_bytes -= event.data.len();
        Some((lease, event))
    }

    /// Does what an answer asks for.
    fn settle(&mut self, context: &Context, posted: Posted) -> Result<()> {
        let Some((_, event)) = self.waiting.front() else { return Ok(()) };
        let name = &self.topics[&event.topic].0;
        let what = format!("topic {name}, offset {}: {}", event.offset, self.webhook.address());
        match posted {
            Posted::NotNow { reason, retry_after } => {
                let wait = self.wait.max(retry_after.unwrap_or_default());
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
                let time = human::duration(wait);
                context.output.note(&format!("{what} did not take the event: {reason}; trying again in {time}"));
                return self.start(wait);
            }
            Posted::Taken => {
                if let Some((lease, event)) = self.forget(VecDeque::pop_front) {
                    self.joined.subscriber.ack(lease, [event.id]);
                    self.forwarded += 1;
                }
            }
            Posted::Refused { reason } if self.joined.puts_away => {
                context.output.note(&format!("{what} refused the event: {reason}"));
                if let Some((lease, event)) = self.forget(VecDeque::pop_front) {
                    self.joined.subscriber.nack(lease, [event.id], NackCode::Unprocessed);
                }
            }
            Posted::Refused { reason } => {
                return Err(CliError::failed(format!("{what} refused event {}: {reason}", event.id)).hint(
                    "the same command goes on with this event; --max-deliveries 5 puts such events away in another topic",
                ));
            }
        }
        self.wait = FIRST_WAIT;
        Ok(())
    }
}

/// The end of the attempt, when there is one.
async fn attempt(posting: &mut Option<Attempt>) -> Posted {
    match posting {
        Some(posting) => posting.await,
        None => std::future::pending().await,
    }
}

impl From<WebhookError> for CliError {
    fn from(error: WebhookError) -> CliError {
        let wrong = CliError { kind: Kind::Usage, ..CliError::chain(&error) };
        match error {
            WebhookError::Credentials => {
                wrong.hint("put an Authorization header into a file, and name it with --header-file")
            }
            _ => wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_names_of_groups() {
        let header = |name: &str, value: &str| Ok(HeaderArg { name: name.to_owned(), value: value.to_owned() });
        assert_eq!("X-Tenant: 7:8 ".parse(), header("X-Tenant", "7:8"));
        assert_eq!("a:".parse(), header("a", ""));
        assert!(": b".parse::<HeaderArg>().is_err());
        assert!("a".parse::<HeaderArg>().is_err());
        let name = group_of("http://localhost:8080/in");
        assert_eq!((name.len(), &name[..8]), (24, "forward-"));
        assert_ne!(name, group_of("http://localhost:8080/out"));
    }
}
