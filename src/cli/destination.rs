//! The topic that a command publishes to: it is made when there is none, unless that is not wanted.

use super::{
    Context,
    error::{CliError, Result},
    human,
};
use crate::{
    client::{Client, ClientError, Code, Progress, Publisher, PublisherOptions},
    model::TopicId,
};

#[derive(Debug)]
pub(super) struct Destination<'a> {
    /// The topic, by name or id.
    pub(super) topic: &'a str,
    pub(super) may_create: bool,
}

/// What became of so many events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) acked: u64,
    pub(super) refused: u64,
    /// Nobody knows whether they are stored.
    pub(super) unacknowledged: u64,
}

impl From<&Progress> for Fate {
    fn from(progress: &Progress) -> Fate {
        let Progress { acked, refused, unacknowledged, .. } = *progress;
        Fate { acked, refused, unacknowledged }
    }
}

/// Whether all that was read is stored in a topic.
///
/// # Errors
///
/// When it is not, with how much of it.
pub(super) fn verdict(topic: &str, fate: Fate) -> Result<()> {
    let Fate { acked, refused, unacknowledged } = fate;
    let total = human::counted(acked + refused + unacknowledged, "event");
    if refused > 0 {
        return Err(CliError::failed(format!("{} of {total} refused", human::count(refused))));
    }
    if unacknowledged > 0 {
        let message = format!("{} of {total} not acknowledged", human::count(unacknowledged));
        return Err(CliError::failed(message).hint(format!("`ensign tail {topic} --from -5m` shows which are stored")));
    }
    Ok(())
}

impl Destination<'_> {
    /// Opens a stream to the topic, and to no other.
    pub(super) async fn open(
        &self,
        context: &Context,
        client: &Client,
        options: PublisherOptions,
    ) -> Result<(Publisher, TopicId)> {
        let options = PublisherOptions { topics: vec![self.topic.to_owned()], ..options };
        let about = |error: ClientError| CliError::from(error).about(format!("topic {}", self.topic));
        let publisher = match Publisher::open(client, options.clone()).await {
            Err(error) if error.code() == Some(Code::FailedPrecondition) => {
                self.create(context, client).await?;
                Publisher::open(client, options).await.map_err(about)?
            }
            opened => opened.map_err(about)?,
        };
        let topics = publisher.topics();
        let topic = topics.get(self.topic).or_else(|| topics.values().next()).copied();
        let topic = topic.ok_or_else(|| self.unknown())?;
        Ok((publisher, topic))
    }

    async fn create(&self, context: &Context, client: &Client) -> Result<()> {
        if !self.may_create {
            return Err(self.unknown());
        }
        match client.create_topic(self.topic).await {
            Ok(_) => {
                context.output.note(&format!("created topic {}", self.topic));
                Ok(())
            }
            // Somebody else was faster.
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) if error.code() == Some(Code::PermissionDenied) => {
                Err(CliError::not_found(format!("there is no topic {}, and this key may not make it", self.topic)))
            }
            Err(error) => Err(CliError::from(error).about(format!("topic {}", self.topic))),
        }
    }

    fn unknown(&self) -> CliError {
        CliError::not_found(format!("there is no topic {}", self.topic))
            .hint(format!("make it with `ensign topic create {}`", self.topic))
    }
}
