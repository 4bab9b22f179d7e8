//! Completion of what only this user's profiles and servers know: names of profiles, topics, and what accounts manage.

use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::{
    Context,
    context::{Globals, Said},
    error::Result,
    output::{Color, Output},
};
use crate::{
    client::{GroupSummary, Key, Member, Organization, Project, Tenant},
    config::Environment,
    credentials::KnownTopicKey,
    sys::Clock,
};

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
    ask(async |context| {
        let topics = context.connect().await?.topics().await?;
        Ok(topics.into_iter().map(|topic| CompletionCandidate::new(topic.name)).collect())
    })
}

/// The consumer groups of the project, by name.
pub(super) fn groups() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let groups = context.connect().await?.groups().await?;
        let candidate =
            |group: GroupSummary| CompletionCandidate::new(group.name).help(Some(group.settings.delivery.into()));
        Ok(groups.into_iter().map(candidate).collect())
    })
}

/// The account's organizations, by name.
pub(super) fn organizations() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let organizations = context.account().await?.organizations().await?;
        let candidate = |organization: &Organization| {
            CompletionCandidate::new(organization.label()).help(Some(organization.id.clone().into()))
        };
        Ok(organizations.iter().map(candidate).collect())
    })
}

/// The members of the organization, by address.
pub(super) fn members() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let members = context.account().await?.members().await?;
        let candidate = |member: Member| CompletionCandidate::new(member.email).help(Some(member.role.into()));
        Ok(members.into_iter().map(candidate).collect())
    })
}

/// The tenants of the organization, by name.
pub(super) fn tenants() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let tenants = context.account().await?.tenants().await?;
        let candidate = |tenant: Tenant| CompletionCandidate::new(tenant.name).help(Some(tenant.id.into()));
        Ok(tenants.into_iter().map(candidate).collect())
    })
}

/// The projects of the organization, by name.
pub(super) fn projects() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let projects = context.account().await?.projects().await?;
        let candidate = |project: Project| CompletionCandidate::new(project.name).help(Some(project.id.into()));
        Ok(projects.into_iter().map(candidate).collect())
    })
}

/// The API keys of the organization, by name.
pub(super) fn keys() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let keys = context.account().await?.keys(None).await?;
        let candidate = |key: Key| CompletionCandidate::new(key.name).help(Some(key.client_id.into()));
        Ok(keys.into_iter().map(candidate).collect())
    })
}

/// What a key can be allowed.
pub(super) fn permissions() -> Vec<CompletionCandidate> {
    ask(async |context| {
        let names = context.account().await?.key_permissions().await?;
        Ok(names.into_iter().chain(["full".to_owned()]).map(CompletionCandidate::new).collect())
    })
}

/// Asks the server of the selected profile, as long as a person has patience. A completion that fails offers nothing;
/// there is nowhere to say why.
fn ask(question: impl AsyncFnOnce(&Context) -> Result<Vec<CompletionCandidate>>) -> Vec<CompletionCandidate> {
    let asked = || -> Result<Vec<CompletionCandidate>> {
        context()?.block_on(async |context| {
            tokio::select! {
                found = question(context) => found,
                () = context.clock.sleep(PATIENCE) => Ok(Vec::new()),
            }
        })
    };
    asked().unwrap_or_default()
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
