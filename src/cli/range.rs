//! Which part of a topic a command reads: `--from`, `--until`, `-n` and `--idle`, the same for every command that reads
//! events, and the subscription that is opened with them.
//!
//! A command flattens [`Range`] into its arguments. It starts at the beginning unless the command says otherwise, with
//! `#[command(mut_arg("from", |from| from.default_value("end")))]`.
//!
//! What it does not do: read, or stop after `limit` events or when `idle` is over. That is up to the command.

use super::{
    error::{CliError, Result},
    human::Span,
};
use crate::{
    client::{Client, Code, Subscriber, SubscriberOptions},
    model::{Position, Ulid},
};

/// What the help of a command that has a [`Range`] says of positions.
pub(super) const POSITIONS: &str = "Positions are start, end (or now), an offset, an event's id, a time (RFC 3339
or a date) or an age like -15m.";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Range {
    /// Where to start: with the event at this position
    #[arg(long, value_name = "POSITION", default_value = "start", allow_hyphen_values = true)]
    pub(super) from: Position,

    /// Where to stop: before the event at this position
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    pub(super) until: Option<Position>,

    /// Stop after this many events
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(super) limit: Option<u64>,

    /// Stop when no event has come for this long
    #[arg(long, value_name = "DURATION")]
    pub(super) idle: Option<Span>,
}

impl Range {
    /// Opens a subscription to a topic, given by its name or id, that reads from `from` until `until`. It connects again for
    /// as long as that takes. What can't be read for want of its data key is left out, or ends it.
    pub(super) async fn open(&self, client: &Client, topic: &str, skip_unreadable: bool) -> Result<Subscriber> {
        // A name of this form is possible; it is tried first.
        let name = match Ulid::parse(topic) {
            Ok(_) => match client.find_topic(topic).await? {
                Some(found) => found.name,
                None => return Err(unknown_topic(topic)),
            },
            Err(_) => topic.to_owned(),
        };
        let options =
            SubscriberOptions { topic: name, from: self.from, until: self.until, retry_for: None, skip_unreadable };
        Subscriber::open(client, options).await.map_err(|error| match error.code() {
            Some(Code::FailedPrecondition | Code::NotFound) if !error.to_string().contains("data key") => {
                unknown_topic(topic)
            }
            _ => CliError::from(error).about(format!("topic {topic}")),
        })
    }
}

fn unknown_topic(topic: &str) -> CliError {
    CliError::not_found(format!("there is no topic {topic}"))
        .hint(format!("`ensign topic list` shows what there is, `ensign topic create {topic}` makes it"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Plain {
        #[command(flatten)]
        range: Range,
    }

    #[derive(Debug, Parser)]
    #[command(mut_arg("from", |from| from.default_value("end")))]
    struct AtTheEnd {
        #[command(flatten)]
        range: Range,
    }

    #[test]
    fn it_starts_where_the_command_says_unless_it_is_told() {
        assert_eq!(Plain::parse_from(["plain"]).range.from, Position::Start);
        assert_eq!(AtTheEnd::parse_from(["at-the-end"]).range.from, Position::End);
        let range = AtTheEnd::parse_from(["at-the-end", "--from", "-15m", "--until", "now", "-n3"]).range;
        assert_eq!((range.from, range.until), (Position::Ago(900_000_000_000), Some(Position::End)));
        assert_eq!((range.limit, range.idle), (Some(3), None));
    }
}
