//! Which server a command talks to and as whom, and where each of these values came from.

use std::{path::PathBuf, sync::Once};

use super::{
    context::{Globals, Said},
    error::{CliError, Result},
    output::error_text,
    trust::TrustFiles,
};
use crate::{
    client::{self, Claims, Endpoint},
    config::{Environment, Setting, Source},
    credentials::{Credentials, Profile, Reference, SecretPlace},
    model::Secret,
    sys::files,
};

/// Where a server is when nobody says anything.
const ENDPOINT: &str = "localhost:5356";

/// Whether this process has warned of plaintext over a network.
static SAID: Once = Once::new();

/// The settled values.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The profile that was named or is selected.
    pub(super) profile: Option<Setting<String>>,
    pub(super) address: Setting<client::Address>,
    pub(super) auth_url: Setting<String>,
    pub(super) insecure: Setting<bool>,
    pub(super) client_id: Option<Setting<String>>,
    /// The account.
    pub(super) email: Option<Setting<String>>,
    /// The organization that the account is to act in.
    pub(super) organization: Option<Setting<String>>,
    pub(super) project: Option<Setting<String>>,
    pub(super) trust: TrustFiles,
    secret: Option<SecretSource>,
    password: Option<SecretSource>,
}

#[derive(Debug, Clone)]
enum SecretSource {
    Environment,
    Profile(String, Box<Profile>),
}

impl Target {
    pub(super) fn settle(globals: &Globals, environment: &Environment, credentials: &Credentials) -> Result<Target> {
        let found = find_profile(globals, credentials)?;
        // Naming a profile on the command line chooses everything that is in it: flags go before the environment.
        let chosen = globals.profile.as_ref().is_some_and(|said| said.typed);
        let environment = if chosen { &Environment::default() } else { environment };
        let source = |name: &str| Source::Profile(name.to_owned());

        let said = |said: &Option<Said>, flag, variable| {
            let said = said.clone().filter(|said| said.typed || !chosen);
            let source = if said.as_ref().is_some_and(|said| said.typed) {
                Source::flag(flag)
            } else {
                Source::environment(variable)
            };
            (said.map(|said| said.text), source)
        };
        let of_profile = match &found {
            Some((name, profile)) => (Some(profile.endpoint.clone()), source(&name.value)),
            None => (None, Source::Default),
        };
        let text = Setting::first([
            said(&globals.endpoint, "--endpoint", "ENSIGN_ENDPOINT"),
            of_profile,
            (Some(ENDPOINT.to_owned()), Source::Default),
        ])
        .expect("the default is a value");
        let address: client::Address =
            text.value.parse().map_err(|error: client::ParseAddressError| CliError::usage(error.to_string()))?;

        // What a profile says about a server holds for that server alone; its secret must not go to another.
        let own = found.as_ref().filter(|(_, profile)| same_address(&profile.endpoint, &address));
        let own_source = || own.map_or(Source::Default, |(name, _)| source(&name.value));
        let trust = settle_trust(globals, environment, own, &said);
        let insecure = Setting::first([
            (environment.switch("ENSIGN_INSECURE"), Source::environment("ENSIGN_INSECURE")),
            (address.says_insecure(), text.source.clone()),
            trust.asks_for_tls(),
            (own.map(|(_, profile)| profile.insecure), own_source()),
        ]);
        let derived = Endpoint::new(address.clone(), None, insecure.as_ref().map(|setting| setting.value));
        let insecure = insecure.unwrap_or_else(|| Setting::new(derived.is_insecure(), Source::Default));
        let auth_url = Setting::first([
            (environment.get("ENSIGN_AUTH_URL").map(str::to_owned), Source::environment("ENSIGN_AUTH_URL")),
            (own.map(|(_, profile)| profile.auth_url.clone()), own_source()),
            (Some(derived.auth_url().to_owned()), Source::Default),
        ])
        .expect("the default is a value");

        let own = own.filter(|(_, profile)| profile.auth_url == auth_url.value);
        let project = Setting::first([
            said(&globals.project, "--project", "ENSIGN_PROJECT"),
            (own.and_then(|(_, profile)| profile.project.clone()), own_source()),
        ]);
        let organization = own.and_then(|(_, profile)| profile.organization.clone());
        let (client_id, secret) = settle_key(environment, own)?;
        let (email, password) = settle_account(environment, own)?;
        // The organization of a profile is that of its account.
        let is_profiles = matches!(password, Some(SecretSource::Profile(..)));
        let organization = organization.filter(|_| is_profiles).map(|id| Setting::new(id, own_source()));
        Ok(Target {
            profile: found.as_ref().map(|(name, _)| name.clone()),
            address: Setting::new(address, text.source),
            auth_url,
            insecure,
            client_id,
            email,
            organization,
            project,
            trust,
            secret,
            password,
        })
    }

    /// Where the server is, and whom to trust there. Plaintext over a network is refused unless it was asked for twice; then
    /// every command says it, once.
    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        let (address, auth_url) = (self.address.value.clone(), self.auth_url.value.clone());
        let endpoint = Endpoint::new(address, Some(auth_url), Some(self.insecure.value));
        if let Some(warning) = self.trust.check_exposure(&endpoint)? {
            SAID.call_once(|| error_text(&format!("warning: {warning}\n")));
        }
        Ok(endpoint.trusting(self.trust.load()?))
    }

    /// Has a profile say where this server is and whom to trust there. What it said of another server goes.
    pub(super) fn put_into(&self, profile: &mut Profile, endpoint: &Endpoint) -> Result<()> {
        if profile.auth_url != endpoint.auth_url() {
            *profile = Profile::default();
        }
        profile.endpoint = endpoint.address().to_string();
        endpoint.auth_url().clone_into(&mut profile.auth_url);
        profile.insecure = endpoint.is_insecure();
        profile.insecure_remote = endpoint.is_exposed();
        profile.ca_file = TrustFiles::absolute(self.trust.ca_file.as_ref())?;
        profile.client_cert = TrustFiles::absolute(self.trust.client_cert.as_ref())?;
        profile.client_key = TrustFiles::absolute(self.trust.client_key.as_ref())?;
        Ok(())
    }

    /// Where the secret is, in words; none when there is no secret.
    pub(super) fn secret_place(&self) -> Option<String> {
        match self.secret.as_ref()? {
            SecretSource::Environment => Some("environment ENSIGN_CLIENT_SECRET".to_owned()),
            SecretSource::Profile(_, profile) => profile.secret.clone().map(String::from),
        }
    }

    /// Where the password is, in words; none when there is no account.
    pub(super) fn password_place(&self) -> Option<String> {
        match self.password.as_ref()? {
            SecretSource::Environment => Some("environment ENSIGN_PASSWORD".to_owned()),
            SecretSource::Profile(_, profile) => profile.password.clone().map(String::from),
        }
    }

    /// The name of the profile whose account this is.
    pub(super) fn profile_of_account(&self) -> Option<&str> {
        match self.password.as_ref()? {
            SecretSource::Environment => None,
            SecretSource::Profile(name, _) => Some(name),
        }
    }

    /// Where a server keeps its events that runs on this machine; known when `ensign dev-server` made the profile,
    /// which refers to a file in that directory.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        let Some(SecretSource::Profile(_, profile)) = &self.secret else { return None };
        let Some(SecretPlace::Reference(Reference::File(file))) = &profile.secret else { return None };
        let dir = file.parent()?;
        (self.address.value.is_loopback() && files::exists(&dir.join("journal"))).then(|| dir.to_owned())
    }

    /// The key to sign in with. A keyring or a vault may ask the person first.
    pub(super) fn credentials(
        &self,
        environment: &Environment,
        credentials: &Credentials,
    ) -> Result<client::Credentials> {
        let (Some(client_id), Some(source)) = (&self.client_id, &self.secret) else {
            return Err(self.not_signed_in());
        };
        let client_secret = match source {
            SecretSource::Environment => Secret::new(
                environment.get("ENSIGN_CLIENT_SECRET").expect("it is there, or it would not be the source"),
            ),
            SecretSource::Profile(name, profile) => credentials
                .secret(profile)
                .map_err(|error| CliError::from(error).about(format!("the secret of profile {name}")))?,
        };
        Ok(client::Credentials { client_id: client_id.value.clone(), client_secret })
    }

    /// The account to sign in with. A keyring or a vault may ask the person first.
    pub(super) fn account(
        &self,
        environment: &Environment,
        credentials: &Credentials,
    ) -> Result<client::AccountCredentials> {
        let (Some(email), Some(source)) = (&self.email, &self.password) else {
            return Err(self.no_account());
        };
        let password = match source {
            SecretSource::Environment => {
                Secret::new(environment.get("ENSIGN_PASSWORD").expect("it is there, or it would not be the source"))
            }
            SecretSource::Profile(name, profile) => credentials
                .password(profile)
                .map_err(|error| CliError::from(error).about(format!("the password of profile {name}")))?,
        };
        let organization = self.organization.as_ref().map(|organization| organization.value.clone());
        Ok(client::AccountCredentials { email: email.value.clone(), password, organization })
    }

    pub(super) fn has_key(&self) -> bool {
        self.client_id.is_some() && self.secret.is_some()
    }

    pub(super) fn has_account(&self) -> bool {
        self.email.is_some() && self.password.is_some()
    }

    fn not_signed_in(&self) -> CliError {
        let address = &self.address.value;
        let hint = if address.is_loopback() {
            "`ensign dev-server` starts a server here and signs you in; `ensign login --client-id ID` signs in to one"
                .to_owned()
        } else {
            format!("sign in with `ensign login --endpoint {address} --client-id ID`")
        };
        CliError::not_allowed(format!("not signed in to {address}")).hint(hint)
    }

    fn no_account(&self) -> CliError {
        let address = &self.address.value;
        CliError::not_allowed(format!("not signed in to {address} with an account")).hint(
            "sign in with `ensign login --email ADDRESS`, or make an account with `ensign register`; an API key can't do this",
        )
    }

    /// Refuses to act on another project, or in another organization, than the one that was chosen.
    pub(super) fn check_project(&self, claims: &Claims) -> Result<()> {
        let differs = |wanted: &Option<Setting<String>>, has: &str| {
            wanted.as_ref().map(|wanted| wanted.value.clone()).filter(|wanted| !wanted.eq_ignore_ascii_case(has))
        };
        let found = differs(&self.project, &claims.project).map(|wanted| ("project", &claims.project, wanted));
        let found = found.or_else(|| {
            differs(&self.organization, &claims.organization).map(|id| ("organization", &claims.organization, id))
        });
        match found {
            Some((kind, has, wanted)) => {
                Err(CliError::not_allowed(format!("the key belongs to {kind} {has}, and not to {wanted}"))
                    .hint("an API key acts on one project; sign in with a key of the other"))
            }
            None => Ok(()),
        }
    }
}

fn same_address(text: &str, address: &client::Address) -> bool {
    text.parse::<client::Address>().is_ok_and(|other| other.to_string() == address.to_string())
}

/// The profile that was named, or else the selected one.
fn find_profile(globals: &Globals, credentials: &Credentials) -> Result<Option<(Setting<String>, Profile)>> {
    let profiles = credentials.profiles()?;
    if let Some(Said { text, typed }) = &globals.profile {
        let profile = profiles.get(text)?.clone();
        let source = if *typed { Source::flag("--profile") } else { Source::environment("ENSIGN_PROFILE") };
        return Ok(Some((Setting::new(text.clone(), source), profile)));
    }
    let selected = profiles.selected();
    Ok(selected.map(|(name, profile)| (Setting::new(name.to_owned(), Source::Default), profile.clone())))
}

/// The value of a global flag and its source; the flag and its variable are named with it.
type Saying<'a> = &'a dyn Fn(&Option<Said>, &'static str, &'static str) -> (Option<String>, Source);

/// The files of certificates: those that were named, or else those of the profile, if the profile is about this server.
fn settle_trust(
    globals: &Globals,
    environment: &Environment,
    own: Option<&(Setting<String>, Profile)>,
    said: Saying<'_>,
) -> TrustFiles {
    let file = |global: &Option<Said>, flag, variable, kept: fn(&Profile) -> Option<PathBuf>| {
        let (text, named) = said(global, flag, variable);
        let of_profile = own.map_or(Source::Default, |(name, _)| Source::Profile(name.value.clone()));
        Setting::first([(text.map(PathBuf::from), named), (own.and_then(|(_, own)| kept(own)), of_profile)])
    };
    let remote = environment.switch("ENSIGN_INSECURE_REMOTE");
    TrustFiles {
        ca_file: file(&globals.ca_file, "--ca-file", "ENSIGN_CA_FILE", |own| own.ca_file.clone()),
        client_cert: file(&globals.client_cert, "--client-cert", "ENSIGN_CLIENT_CERT", |own| own.client_cert.clone()),
        client_key: file(&globals.client_key, "--client-key", "ENSIGN_CLIENT_KEY", |own| own.client_key.clone()),
        insecure_remote: remote.unwrap_or_else(|| own.is_some_and(|(_, profile)| profile.insecure_remote)),
    }
}

/// Who, and where the secret is.
type Key = (Option<Setting<String>>, Option<SecretSource>);

/// The key of the environment, or else that of the profile, if the profile is about this server.
fn settle_key(environment: &Environment, own: Option<&(Setting<String>, Profile)>) -> Result<Key> {
    let variable = |name| environment.get(name).map(str::to_owned);
    match (variable("ENSIGN_CLIENT_ID"), environment.get("ENSIGN_CLIENT_SECRET")) {
        (Some(id), Some(_)) => {
            let id = Setting::new(id, Source::environment("ENSIGN_CLIENT_ID"));
            return Ok((Some(id), Some(SecretSource::Environment)));
        }
        (Some(_), None) => return Err(half("ENSIGN_CLIENT_ID", "ENSIGN_CLIENT_SECRET")),
        (None, Some(_)) => return Err(half("ENSIGN_CLIENT_SECRET", "ENSIGN_CLIENT_ID")),
        (None, None) => {}
    }
    let Some((name, profile)) = own else {
        return Ok((None, None));
    };
    let source = Source::Profile(name.value.clone());
    let id = profile.client_id.clone().map(|id| Setting::new(id, source));
    let secret = profile.secret.as_ref().map(|_| SecretSource::Profile(name.value.clone(), Box::new(profile.clone())));
    Ok((id, secret))
}

/// The account of the environment, or else that of the profile, if the profile is about this server.
fn settle_account(environment: &Environment, own: Option<&(Setting<String>, Profile)>) -> Result<Key> {
    match (environment.get("ENSIGN_EMAIL"), environment.get("ENSIGN_PASSWORD")) {
        (Some(email), Some(_)) => {
            let email = Setting::new(email.to_owned(), Source::environment("ENSIGN_EMAIL"));
            return Ok((Some(email), Some(SecretSource::Environment)));
        }
        (Some(_), None) => return Err(half("ENSIGN_EMAIL", "ENSIGN_PASSWORD")),
        // A password alone is one that `login` and its kin are to take.
        (None, _) => {}
    }
    let Some((name, profile)) = own else {
        return Ok((None, None));
    };
    let email = profile.email.clone().map(|email| Setting::new(email, Source::Profile(name.value.clone())));
    let password =
        profile.password.as_ref().map(|_| SecretSource::Profile(name.value.clone(), Box::new(profile.clone())));
    Ok((email, password))
}

fn half(set: &str, unset: &str) -> CliError {
    CliError::usage(format!("{set} is set, and {unset} is not"))
        .hint(format!("set both, or unset {set} to use the profile"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Passphrase, SecretPlace};

    fn profile(endpoint: &str) -> Profile {
        Profile {
            endpoint: endpoint.to_owned(),
            auth_url: format!("http://{endpoint}"),
            insecure: true,
            client_id: Some("ID".to_owned()),
            secret: Some("env://A".parse::<SecretPlace>().unwrap()),
            ..Profile::default()
        }
    }

    fn settle(globals: &Globals, environment: &[(&str, &str)]) -> Result<Target> {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::at(dir.path(), Passphrase::Unavailable);
        credentials
            .update(|profiles| {
                profiles.insert("a", profile("a.example.com:1"))?;
                profiles.insert("b", profile("b.example.com:2"))?;
                profiles.select("a")
            })
            .unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Target::settle(globals, &environment, &credentials)
    }

    fn check(globals: &Globals, environment: &[(&str, &str)], address: (&str, &str), auth_url: &str, id: Option<&str>) {
        let target = settle(globals, environment).unwrap();
        let shown = (target.address.value.to_string(), target.address.source.to_string());
        assert_eq!((shown.0.as_str(), shown.1.as_str()), address);
        assert_eq!(target.auth_url.value, auth_url);
        assert_eq!(target.client_id.map(|id| id.value).as_deref(), id);
    }

    #[test]
    fn precedence() {
        let none = Globals::default();
        check(&none, &[], ("a.example.com:1", "profile a"), "http://a.example.com:1", Some("ID"));
        let named = |typed| Globals { profile: Said::new(Some("b".to_owned()), typed), ..Globals::default() };
        let all = [
            ("ENSIGN_AUTH_URL", "http://auth"),
            ("ENSIGN_CLIENT_ID", "other"),
            ("ENSIGN_CLIENT_SECRET", "hush"),
            ("ENSIGN_INSECURE", "0"),
        ];
        check(&named(true), &all, ("b.example.com:2", "profile b"), "http://b.example.com:2", Some("ID"));
        check(&none, &all, ("a.example.com:1", "profile a"), "http://auth", Some("other"));
        check(&named(false), &all, ("b.example.com:2", "profile b"), "http://auth", Some("other"));
    }

    /// The secret of one server must not be sent to another.
    #[test]
    fn a_profile_is_about_its_own_server() {
        let endpoint = Said::new(Some("localhost:5356".to_owned()), true);
        let elsewhere = Globals { endpoint, ..Globals::default() };
        check(&elsewhere, &[], ("localhost:5356", "flag --endpoint"), "http://localhost:5356", None);
        check(
            &Globals::default(),
            &[("ENSIGN_AUTH_URL", "http://auth")],
            ("a.example.com:1", "profile a"),
            "http://auth",
            None,
        );
    }

    /// On this machine plaintext is the default, but not for who says whose certificates to trust.
    #[test]
    fn an_authority_asks_for_tls() {
        let said = |text: &str| Said::new(Some(text.to_owned()), true);
        let trusting = Globals { endpoint: said("localhost:5356"), ca_file: said("ca.pem"), ..Globals::default() };
        check(&trusting, &[], ("localhost:5356", "flag --endpoint"), "https://localhost:5356", None);
        let plain = Globals { endpoint: said("http://localhost:5356"), ..trusting };
        check(&plain, &[], ("localhost:5356", "flag --endpoint"), "http://localhost:5356", None);
    }

    #[test]
    fn half_a_key_is_an_error() {
        let error = settle(&Globals::default(), &[("ENSIGN_CLIENT_ID", "x")]).unwrap_err();
        assert_eq!(error.message, "ENSIGN_CLIENT_ID is set, and ENSIGN_CLIENT_SECRET is not");
        let unknown = Globals { profile: Said::new(Some("c".to_owned()), true), ..Globals::default() };
        assert_eq!(settle(&unknown, &[]).unwrap_err().kind, crate::cli::error::Kind::NotFound);
    }
}
