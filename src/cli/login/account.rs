//! Signing in with an account.

use serde_json::json;

use super::{Args, explained, profile_of_account, remember};
use crate::{
    cli::{Context, error::Result, find::find, output::Detail, secret_input::SecretInput, storage::kept},
    client::{Account, AccountCredentials, Claims, Endpoint, Organization},
    credentials::{SecretPlace, Stored},
    model::Secret,
};

/// Who signed in, and where.
struct SignedIn {
    claims: Claims,
    organization: Organization,
    /// The only project of the organization.
    project: Option<String>,
}

impl Args {
    pub(super) fn account_login(self, context: &mut Context) -> Result<()> {
        let target = self.target(context)?;
        let endpoint = target.endpoint()?;
        let email = self.email.clone().unwrap_or_default().trim().to_owned();
        let password = match self.reference()? {
            Some(SecretPlace::Reference(reference)) => reference.resolve()?,
            _ => self.password(context, &email)?,
        };
        let signed_in = context.block_on({
            let (endpoint, email, password) = (endpoint.clone(), email.clone(), password.clone());
            async |context| {
                let credentials = AccountCredentials { email, password, organization: None };
                let account = Account::sign_in(endpoint, credentials, context.clock.clone()).await;
                let account = account.map_err(|error| match error {
                    unverified @ crate::client::ClientError::Unverified { .. } => unverified.into(),
                    error => explained(
                        error.into(),
                        "check the address and the password; nothing was stored; `ensign password forgot` replaces a \
                         password that was forgotten",
                    ),
                })?;
                choose(account, self.org.as_deref()).await
            }
        })?;
        let stored = self.store(context, &email, endpoint.auth_url(), &password)?;
        let name = profile_of_account(context, &endpoint)?;
        remember(context, &name, (&target, &endpoint), |profile| {
            if profile.organization.as_ref() != Some(&signed_in.organization.id) && profile.client_id.is_none() {
                profile.project.clone_from(&signed_in.project);
            }
            profile.organization = Some(signed_in.organization.id.clone());
            profile.email = Some(email.clone());
            profile.password = Some(stored.place.clone());
        })?;
        report(context, (&endpoint, &name), &signed_in, &stored)
    }

    fn password(&self, context: &Context, email: &str) -> Result<Secret> {
        let what = format!("the password of {email}");
        let file = self.password_file.as_deref();
        let variable = Some("ENSIGN_PASSWORD");
        SecretInput { what: &what, flag: "--password-file", file, variable, is_new: false }.read(context)
    }
}

/// Goes to the organization that was asked for.
async fn choose(account: Account, wanted: Option<&str>) -> Result<SignedIn> {
    let current = account.claims().await?.organization;
    let organizations = account.organizations().await?;
    let organization = find(organizations, wanted.unwrap_or(&current))?;
    let account = if organization.id == current { account } else { account.switch(&organization.id).await? };
    let mut projects = account.projects().await?;
    let project = if projects.len() == 1 { projects.pop().map(|project| project.id) } else { None };
    Ok(SignedIn { claims: account.claims().await?, organization, project })
}

fn report(
    context: &mut Context,
    (endpoint, name): (&Endpoint, &str),
    signed_in: &SignedIn,
    stored: &Stored,
) -> Result<()> {
    let SignedIn { claims, organization, .. } = signed_in;
    let (address, kept) = (endpoint.address(), kept("the password", stored));
    let who = format!("{} of {}", claims.email, organization.label());
    context.output.note(&format!("signed in to {address} as {who} in profile {name}; {kept}"));
    let place = String::from(stored.place.clone());
    let value = json!({
        "profile": name,
        "endpoint": address.to_string(),
        "auth_url": endpoint.auth_url(),
        "email": claims.email,
        "user_id": claims.subject,
        "organization_id": organization.id,
        "organization": organization.name,
        "password": place,
    });
    let fields = vec![
        ("profile", name.to_owned()),
        ("endpoint", address.to_string()),
        ("auth_url", endpoint.auth_url().to_owned()),
        ("email", claims.email.clone()),
        ("user_id", claims.subject.clone()),
        ("organization_id", organization.id.clone()),
        ("organization", organization.name.clone()),
        ("password", place),
    ];
    context.output.result(Detail { fields, value })
}
