//! The topics of a benchmark.

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human,
    },
    client::{Client, Code, Publisher, PublisherOptions},
    model::TopicId,
};

/// The names of the topics: the one that was given, or so many that begin with it.
pub(super) fn names(topic: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![topic.to_owned()],
        _ => (1..=count).map(|number| format!("{topic}-{number}")).collect(),
    }
}

/// Finds the topics, and makes those that there are not.
pub(super) async fn ensure(
    context: &Context,
    client: &Client,
    topic: &str,
    count: usize,
    create: bool,
) -> Result<Vec<(String, TopicId)>> {
    let names = names(topic, count);
    let found = find(client, &names).await?;
    if found.len() == names.len() {
        return Ok(found);
    }
    let missing: Vec<&String> = names.iter().filter(|name| !found.iter().any(|(found, _)| found == *name)).collect();
    if !create {
        return Err(unknown(missing[0]));
    }
    for name in &missing {
        match client.create_topic(name).await {
            // Somebody else may have been faster.
            Err(error) if !error.is_already_exists() => {
                return Err(CliError::from(error).about(format!("topic {name}")));
            }
            _ => {}
        }
    }
    match missing.as_slice() {
        [name] => context.output.note(&format!("created topic {name}")),
        _ => context.output.note(&format!("created {}", human::counted(missing.len() as u64, "topic"))),
    }
    let found = find(client, &names).await?;
    match names.iter().find(|name| !found.iter().any(|(found, _)| found == *name)) {
        Some(name) => Err(unknown(name)),
        None => Ok(found),
    }
}

/// Those of the topics that can be published to, with their ids.
async fn find(client: &Client, names: &[String]) -> Result<Vec<(String, TopicId)>> {
    let options = PublisherOptions { topics: names.to_vec(), ..PublisherOptions::default() };
    match Publisher::open(client, options).await {
        Ok(publisher) => {
            let topics = publisher.topics();
            Ok(names.iter().filter_map(|name| Some((name.clone(), *topics.get(name)?))).collect())
        }
        // There are none at all.
        Err(error) if error.code() == Some(Code::FailedPrecondition) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn unknown(topic: &str) -> CliError {
    CliError::not_found(format!("there is no topic {topic}"))
        .hint(format!("make it with `ensign topic create {topic}`"))
}
