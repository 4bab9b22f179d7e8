//! `ensign whoami`: who, where, which project, and where each of that comes from.

use serde_json::{Value, json};

use super::{Context, error::Result, find::find, human, member, output::Detail, target::Target};
use crate::{
    client::{Claims, Member, Organization},
    config::Setting,
    model::Time,
};

/// Show who you are, where, and why
///
/// Signs in to find out: with the key, with the account, or with both if the profile has both. With -o json every value
/// comes with its source: flag, environment, profile or default.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign whoami
  $ ensign whoami -o json --jq .endpoint.source")]
pub(super) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let target = context.target()?;
        let (key, user) = context.block_on(async |context| {
            // Without an account, whoever is not signed in is told so.
            let by_key = target.has_key() || !target.has_account();
            let key = if by_key { Some(context.connect_as_key().await?.claims().await?) } else { None };
            let user = if target.has_account() { Some(User::find(context).await?) } else { None };
            Ok((key, user))
        })?;
        let now = context.clock.now();
        let mut fields = vec![
            ("endpoint", target.address.value.to_string()),
            ("auth url", target.auth_url.value.clone()),
            ("profile", human::or_dash(target.profile.as_ref().map(|profile| &profile.value))),
        ];
        if let Some(claims) = &key {
            fields.extend([
                ("client id", human::or_dash(target.client_id.as_ref().map(|id| &id.value))),
                ("secret", human::or_dash(target.secret_place())),
                ("key", claims.subject.clone()),
                ("organization", claims.organization.clone()),
                ("project", claims.project.clone()),
                ("permissions", claims.permissions.join(" ")),
                ("token", expiry(claims, now)),
            ]);
        }
        if let Some(user) = &user {
            fields.extend(user.fields(&target, key.is_none(), now));
        }
        let value = json!({
            "endpoint": setting(Some(&target.address), ToString::to_string),
            "auth_url": setting(Some(&target.auth_url), Clone::clone),
            "insecure": setting(Some(&target.insecure), |insecure| *insecure),
            "ca_file": setting(target.trust.ca_file.as_ref(), |path| path.display().to_string()),
            "client_cert": setting(target.trust.client_cert.as_ref(), |path| path.display().to_string()),
            "profile": setting(target.profile.as_ref(), Clone::clone),
            "client_id": setting(target.client_id.as_ref(), Clone::clone),
            "secret": target.secret_place(),
            "project": setting(target.project.as_ref(), Clone::clone),
            "key_id": key.as_ref().map(|claims| &claims.subject),
            "organization_id": key.as_ref().map(|claims| &claims.organization),
            "project_id": key.as_ref().map(|claims| &claims.project),
            "permissions": key.as_ref().map(|claims| &claims.permissions),
            "expires": key.as_ref().map(|claims| claims.expires().to_string()),
            "account": user.as_ref().map(|user| user.value(&target)),
        });
        context.output.detail(Detail { fields, value })
    }
}

/// Who is signed in with an account.
struct User {
    claims: Claims,
    member: Member,
    organization: Organization,
}

impl User {
    async fn find(context: &Context) -> Result<User> {
        let account = context.account().await?;
        let claims = account.claims().await?;
        let organization = find(account.organizations().await?, &claims.organization)?;
        Ok(User { member: member::oneself(&account).await?, claims, organization })
    }

    fn fields(&self, target: &Target, alone: bool, now: Time) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("email", self.member.email.clone()),
            ("password", human::or_dash(target.password_place())),
            ("name", self.member.name.clone()),
            ("acts in", format!("{} as {}", self.organization.label(), self.member.role)),
        ];
        if alone {
            let project = target.project.as_ref().map(|project| &project.value);
            fields.push(("organization", self.claims.organization.clone()));
            fields.push(("project", human::or_dash(project)));
            fields.push(("permissions", self.claims.permissions.join(" ")));
            fields.push(("token", expiry(&self.claims, now)));
        }
        fields
    }

    fn value(&self, target: &Target) -> Value {
        json!({
            "email": setting(target.email.as_ref(), Clone::clone),
            "password": target.password_place(),
            "user_id": self.member.id,
            "name": self.member.name,
            "role": self.member.role,
            "organization": self.organization.name,
            "workspace": self.organization.domain,
            "organization_id": self.claims.organization,
            "permissions": self.claims.permissions,
            "expires": self.claims.expires().to_string(),
        })
    }
}

fn expiry(claims: &Claims, now: Time) -> String {
    let left = claims.expires().nanos().saturating_sub(now.nanos());
    let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
    format!("expires {} (in {})", claims.expires(), human::duration(left))
}

fn setting<T, V: Into<Value>>(setting: Option<&Setting<T>>, show: impl Fn(&T) -> V) -> Value {
    match setting {
        Some(setting) => json!({ "value": show(&setting.value).into(), "source": setting.source.to_string() }),
        None => Value::Null,
    }
}
