//! Which part of its topics a command reads: `--from`, `--until`, `-n` and `--idle`, the same for every command that reads
//! events, and the subscription that is opened with them.
//!
//! A command flattens [`Range`] into its arguments. It starts at the beginning unless the command says otherwise, with
//! `#[command(mut_arg("from", |from| from.default_value("end")))]`.
//!
//! What it does not do: read, or stop after `limit` events or when `idle` is over. That is up to the command.

use std::collections::HashSet;

use super::{
    error::{CliError, Result},
    human::Span,
};
use crate::{
    client::{Client, Code, Subscriber, SubscriberOptions, Wanted},
    model::Position,
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
    /// Opens a subscription to topics, given by their names or ids, that reads each from `from` until `until`. It connects
    /// again for as long as that takes. What can't be read for want of its data key is left out, or ends it. What is not selected does
    /// not come.
    pub(super) async fn open(
        &self,
        client: &Client,
        topics: &[String],
        skip_unreadable: bool,
        wanted: Wanted,
    ) -> Result<Subscriber> {
        let mut once = HashSet::new();
        let topics: Vec<String> = topics.iter().filter(|topic| once.insert(*topic)).cloned().collect();
        let (from, until) = (self.from, self.until);
        let options =
            SubscriberOptions { topics: topics.clone(), from, until, retry_for: None, skip_unreadable, wanted };
        let error = match Subscriber::open(client, options).await {
            Ok(subscriber) => return Ok(subscriber),
            Err(error) => error,
        };
        let text = error.to_string();
        let unknown = match error.code() {
            Some(Code::FailedPrecondition | Code::NotFound) => !text.contains("data key"),
            Some(Code::InvalidArgument) => text.contains("unknown topic"),
            _ => false,
        };
        match &topics[..] {
            [topic] if unknown => Err(unknown_topic(topic)),
            [topic] => Err(CliError::from(error).about(format!("topic {topic}"))),
            _ if unknown => Err(first_unknown(client, &topics).await),
            _ => Err(CliError::from(error).about(format!("topics {}", topics.join(", ")))),
        }
    }
}

/// Names the first of several topics that is not there.
async fn first_unknown(client: &Client, topics: &[String]) -> CliError {
    for topic in topics {
        match client.find_topic(topic).await {
            Ok(Some(_)) => {}
            Ok(None) => return unknown_topic(topic),
            // Whoever may read topics need not be allowed to list them.
            Err(_) => break,
        }
    }
    CliError::not_found(format!("one of the topics {} is not there", topics.join(", ")))
}

pub(super) fn unknown_topic(topic: &str) -> CliError {
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
