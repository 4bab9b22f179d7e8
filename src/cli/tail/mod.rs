//! `ensign tail`: events as they come, and from any point in the past; alone, or as a member of a consumer group.

mod cloud_event;
mod follow;
mod forward;
mod member;
mod membership;
mod verdicts;

use clap::ArgGroup;
use clap_complete::ArgValueCandidates;

use super::{
    Context, complete,
    decryption::Decryption,
    error::{Kind, Result},
    output::EventWriter,
    range::{self, Range},
};
use forward::Forwarding;
use membership::Membership;

/// Show events as they come, and from any point in the past
///
/// Follows the topics until it is interrupted, or until --until, -n or --idle say that it is over. When the connection
/// breaks, it is made again and the output goes on behind the last event, without a gap or a repetition. Several topics come each in
/// its order, and what they hold already is merged by the time at which it was committed.
///
/// On a terminal events are shown as a table, otherwise as JSON lines (-o jsonl), which `ensign publish` takes back
/// without losing anything. With -o raw each event's data is followed by an end of line and by nothing else: what was
/// published line by line comes out as it was, with an end of line behind the last line also where the file had none.
/// Data that itself holds ends of lines can't be told apart in that form; use -o jsonl for it.
///
/// Events whose data is encrypted with a topic key are shown as such, unless --decrypt is given; with -o jsonl they can be
/// published again as they are. --decrypt stops with an error at an event that it can't decrypt, that was changed,
/// or that is not encrypted.
///
/// With --where the server sends only events for which a condition is true, of all topics. It can't look at data that is encrypted with a
/// topic key; with --decrypt the condition is evaluated here, when the data has been decrypted. -n and --idle count what is shown.
///
/// With --group the server remembers how far the group has read, and members of one group share the events. A new group
/// starts at --from, and is at-least-once: an event counts as read when it was written, and comes again, here or to
/// another member, when that did not come about. With --ack manual standard input says what became of each event, in lines of
/// an event's id, `ack` or `nack`, and the reason for a nack (unprocessed, timeout, unhandled-mimetype, unknown-type,
/// deliver-again-any, deliver-again-not-me); an id alone is an ack. It ends when its input does.
///
/// With --forward nothing is written: each event is posted to an address as a CloudEvent, the next one when the one before was
/// taken (2xx). When the receiver is not there, busy (408, 425, 429) or broken (5xx), it is tried again, after half a second at first
/// and after 30 at last, or when Retry-After says. When it refuses an event, that is the end, unless --max-deliveries says
/// how often it is to be tried before it goes to another topic.
#[derive(Debug, clap::Args)]
#[command(mut_arg("from", |from| from.default_value("end")))]
#[command(group(ArgGroup::new("taking_part").multiple(true)))]
#[command(after_help = format!("Examples:
  $ ensign tail flights --from start
  $ ensign tail orders payments --from -15m -o 'template={{topic}} {{offset}} {{data}}'
  $ ensign tail flights --from start --until now -o jsonl > flights.backup.jsonl
  $ ensign tail orders --from start --decrypt
  $ ensign tail orders --from -1h --where \"total > 100 AND customer.country IN ('DE', 'FR')\"
  $ ensign tail orders --group billing --from start -o jsonl
  $ ensign tail orders --forward https://example.com/hook --header-file hook.headers

{}", range::POSITIONS))]
pub(super) struct Args {
    /// The topics, by name or id; a group without them reads all topics of the project
    #[arg(required_unless_present = "taking_part", value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topics: Vec<String>,

    #[command(flatten)]
    range: Range,

    /// Show events for which this is true, as EnSQL's WHERE has it
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true, conflicts_with = "taking_part")]
    condition: Option<String>,

    /// Leave out events under a suspended or revoked data key, instead of ending there with an error
    #[arg(long)]
    skip_unreadable: bool,

    #[command(flatten)]
    decryption: Decryption,

    #[command(flatten)]
    membership: Membership,

    #[command(flatten)]
    forwarding: Forwarding,
}

impl Args {
    /// Whether events are written, which is when their format means something.
    pub(super) fn writes(&self) -> bool {
        self.forwarding.forward.is_none()
    }

    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            if let Some(url) = &self.forwarding.forward {
                return self.forward(context, url).await;
            }
            let mut writer = EventWriter::new(&context.output, self.topics.len() != 1);
            if self.range.limit == Some(0) {
                writer.finish(&mut context.output)?;
                return context.output.flush();
            }
            match &self.membership.group {
                Some(group) => self.take_part(context, &mut writer, group).await,
                None => self.follow(context, &mut writer).await,
            }
        })
    }
}

/// Writes what a format needs at its end, whatever ended the reading.
fn finish(context: &mut Context, writer: &EventWriter, result: Result<()>) -> Result<()> {
    if !matches!(&result, Err(error) if error.kind == Kind::ClosedPipe) {
        writer.finish(&mut context.output)?;
        context.output.flush()?;
    }
    result
}
