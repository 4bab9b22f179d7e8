//! Completion of what only this user's profiles and servers know: names of profiles and topics.

use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::{
    Context,
    context::{Globals, Said},
    error::Result,
    output::{Color, Output},
};
use crate::{client::TopicSummary, config::Environment, credentials::KnownTopicKey, sys::Clock};

/// How long a person who pressed the tab key can be kept waiting.
const PATIENCE: Duration = Duration::from_millis(800);

/// The names of the profiles.
pub(super) fn profiles() -> Vec<CompletionCandidate> {
    let names = || -> Result<Vec<CompletionCandidate>> {
        let profiles = context()?.credentials()?.profiles()?;
        let candidate = |(name, profile): (&str, &crate::credentials::Profile)| {
            CompletionCandidate::new(name).help(Some(profile.endpoint.clone().into()))
        };
        Ok(profiles.iter().map(candidate).collect())
    };
    names().unwrap_or_default()
}

/// The names of the topics on the server of the selected profile.
pub(super) fn topics() -> Vec<CompletionCandidate> {
    let topics = || -> Result<Vec<TopicSummary>> {
        context()?.block_on(async |context| {
            let list = async { Ok(context.connect().await?.topics().await?) };
            tokio::select! {
                topics = list => topics,
                () = context.clock.sleep(PATIENCE) => Ok(Vec::new()),
            }
        })
    };
    // A completion that fails offers nothing; there is nowhere to say why.
    topics().unwrap_or_default().into_iter().map(|topic| CompletionCandidate::new(topic.name)).collect()
}

/// The topics that there are topic keys for.
pub(super) fn topics_with_keys() -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = known_topic_keys().into_iter().map(|key| key.topic_name).collect();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The topic keys, with what they are for.
pub(super) fn topic_keys() -> Vec<CompletionCandidate> {
    let candidate = |key: KnownTopicKey| CompletionCandidate::new(key.id.to_string()).help(Some(key.topic_name.into()));
    known_topic_keys().into_iter().map(candidate).collect()
}

fn known_topic_keys() -> Vec<KnownTopicKey> {
    let known = || -> Result<Vec<KnownTopicKey>> { Ok(context()?.credentials()?.topic_keys()?) };
    known().unwrap_or_default()
}

/// What a command would have that was typed without flags.
fn context() -> Result<Context> {
    let environment = Environment::current();
    let said = |name: &str| Said::new(environment.get(name).map(str::to_owned), false);
    let globals = Globals {
        profile: said("ENSIGN_PROFILE"),
        endpoint: said("ENSIGN_ENDPOINT"),
        project: said("ENSIGN_PROJECT"),
        ca_file: said("ENSIGN_CA_FILE"),
        client_cert: said("ENSIGN_CLIENT_CERT"),
        client_key: said("ENSIGN_CLIENT_KEY"),
        no_input: true,
    };
    let output = Output::new(None, None, Color::Never, true)?;
    Ok(Context { environment, globals, output, clock: Clock::real() })
}
