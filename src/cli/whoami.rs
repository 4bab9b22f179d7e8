//! `ensign whoami`: who, where, which project, and where each of that comes from.

use serde_json::{Value, json};

use super::{Context, error::Result, human, output::Detail};
use crate::{config::Setting, model::Time};

/// Show who you are, where, and why
///
/// Signs in to find out. With -o json every value comes with its source: flag, environment, profile or default.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign whoami
  $ ensign whoami -o json --jq .endpoint.source")]
pub(super) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let target = context.target()?;
        let claims = context.block_on(async |context| Ok(context.connect().await?.claims().await?))?;
        let now = context.clock.now();
        let left = claims.expires().nanos().saturating_sub(now.nanos());
        let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
        let secret = target.secret_place();
        let fields = vec![
            ("endpoint", target.address.value.to_string()),
            ("auth url", target.auth_url.value.clone()),
            ("profile", human::or_dash(target.profile.as_ref().map(|profile| &profile.value))),
            ("client id", human::or_dash(target.client_id.as_ref().map(|id| &id.value))),
            ("secret", human::or_dash(secret.as_ref())),
            ("key", claims.subject.clone()),
            ("organization", claims.organization.clone()),
            ("project", claims.project.clone()),
            ("permissions", claims.permissions.join(" ")),
            ("token", format!("expires {} (in {})", claims.expires(), human::duration(left))),
        ];
        let value = json!({
            "endpoint": setting(Some(&target.address), ToString::to_string),
            "auth_url": setting(Some(&target.auth_url), Clone::clone),
            "insecure": setting(Some(&target.insecure), |insecure| *insecure),
            "ca_file": setting(target.trust.ca_file.as_ref(), |path| path.display().to_string()),
            "client_cert": setting(target.trust.client_cert.as_ref(), |path| path.display().to_string()),
            "profile": setting(target.profile.as_ref(), Clone::clone),
            "client_id": setting(target.client_id.as_ref(), Clone::clone),
            "secret": secret,
            "project": setting(target.project.as_ref(), Clone::clone),
            "key_id": claims.subject,
            "organization_id": claims.organization,
            "project_id": claims.project,
            "permissions": claims.permissions,
            "expires": rfc3339(claims.expires()),
        });
        context.output.detail(Detail { fields, value })
    }
}

fn setting<T, V: Into<Value>>(setting: Option<&Setting<T>>, show: impl Fn(&T) -> V) -> Value {
    match setting {
        Some(setting) => json!({ "value": show(&setting.value).into(), "source": setting.source.to_string() }),
        None => Value::Null,
    }
}

fn rfc3339(time: Time) -> String {
    time.to_string()
}
