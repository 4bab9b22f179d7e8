//! The options of accounts: who may register, and how mail is sent.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use super::Problems;
use crate::{
    cli::error::{CliError, Result},
    config::Environment,
    identity::Registration,
    model::Secret,
    server::{MailOptions, MailSecurity},
    sys::files::read_file,
};

/// The variable that the password of the mail server can be in.
const PASSWORD: &str = "ENSIGN_SMTP_PASSWORD";

/// The longest password that is looked for, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Accounts, and mail to those who have one.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Account options")]
pub(in crate::cli) struct AccountArgs {
    /// Who may register with an organization of their own; who was invited may join one anyway
    ///
    /// `dev-server` is open, `serve` takes the first user alone.
    #[arg(long, env = "ENSIGN_REGISTRATION", hide_env = true, value_name = "WHO")]
    registration: Option<Who>,

    /// The mail server: smtps://USER@HOST for TLS, smtp://USER@HOST for STARTTLS, smtp+plaintext://localhost for neither
    ///
    /// Without one no mail is sent: what would be in it is in the server's log, and owners can list it. The password comes
    /// from ENSIGN_SMTP_PASSWORD or from a file.
    #[arg(long, env = "ENSIGN_SMTP_URL", hide_env = true, value_name = "URL")]
    smtp_url: Option<MailServer>,

    /// A file with the password for the mail server
    #[arg(long, env = "ENSIGN_SMTP_PASSWORD_FILE", hide_env = true, value_name = "FILE")]
    smtp_password_file: Option<PathBuf>,

    /// Whom mail is from: an address, or a name with one in angle brackets
    #[arg(long, env = "ENSIGN_MAIL_FROM", hide_env = true, value_name = "ADDRESS")]
    mail_from: Option<String>,

    /// The address of a web application that takes tokens; without, mail has tokens and no links
    #[arg(long, env = "ENSIGN_MAIL_LINKS", hide_env = true, value_name = "URL")]
    mail_links: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Who {
    /// Everybody
    Open,
    /// The first user of the server
    First,
    /// Nobody
    Closed,
}

/// What the options come to.
#[derive(Debug, Clone)]
pub(in crate::cli) struct AccountSettings {
    pub(in crate::cli) registration: Registration,
    pub(in crate::cli) mail: Option<MailOptions>,
}

/// Where mail is handed over, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MailServer {
    security: MailSecurity,
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl FromStr for MailServer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<MailServer, String> {
        let malformed = || "write it like smtps://USER@HOST or smtp://USER@HOST:PORT".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let security = match scheme {
            "smtps" => MailSecurity::Tls,
            "smtp" => MailSecurity::StartTls,
            "smtp+plaintext" => MailSecurity::Plaintext,
            _ => return Err(malformed()),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                return Err(format!("the password belongs into {PASSWORD} or a file, not into the URL"));
            }
            Some((user, place)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(malformed)?)),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map(str::parse).transpose().map_err(|_| malformed())?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(malformed());
        }
        Ok(MailServer { security, user, host: host.to_owned(), port })
    }
}

impl AccountArgs {
    /// What the option for it takes.
    pub(in crate::cli) fn name_of(registration: Registration) -> &'static str {
        match registration {
            Registration::Open => "open",
            Registration::First => "first",
            Registration::Closed => "closed",
        }
    }

    /// What the options come to; what is wrong with them becomes a problem.
    pub(in crate::cli) fn settle(
        &self,
        environment: &Environment,
        default: Registration,
        problems: &mut Problems,
    ) -> AccountSettings {
        let registration = match self.registration {
            None => default,
            Some(Who::Open) => Registration::Open,
            Some(Who::First) => Registration::First,
            Some(Who::Closed) => Registration::Closed,
        };
        AccountSettings { registration, mail: self.mail(environment, problems) }
    }

    fn mail(&self, environment: &Environment, problems: &mut Problems) -> Option<MailOptions> {
        let Some(server) = &self.smtp_url else {
            for (is_given, name) in [
                (self.smtp_password_file.is_some(), "--smtp-password-file"),
                (self.mail_from.is_some(), "--mail-from"),
                (self.mail_links.is_some(), "--mail-links"),
            ] {
                if is_given {
                    problems.add(format!("{name}: no mail is sent without --smtp-url"));
                }
            }
            return None;
        };
        let password = match (&self.smtp_password_file, environment.get(PASSWORD)) {
            (Some(file), _) => problems.note("--smtp-password-file", read_password(file)),
            (None, Some(text)) => Some(Secret::new(text)),
            (None, None) => None,
        };
        if server.user.is_some() && password.is_none() && self.smtp_password_file.is_none() {
            problems.add(format!("--smtp-url: the password of its user is in neither {PASSWORD} nor a file"));
        }
        let Some(from) = self.mail_from.clone() else {
            problems.add("--mail-from: whom mail is from has to be said");
            return None;
        };
        let is_address = |links: &String| links.starts_with("https://") || links.starts_with("http://");
        if self.mail_links.as_ref().is_some_and(|links| !is_address(links)) {
            problems.add("--mail-links: write it with https:// or http://");
        }
        let options = MailOptions {
            host: server.host.clone(),
            port: server.port,
            security: server.security,
            login: server.user.clone().zip(password),
            from,
            links: self.mail_links.clone(),
        };
        problems.note("--smtp-url", options.check().map_err(|error| CliError::chain(&error)));
        Some(options)
    }
}

/// The password in a file, without the end of its line.
fn read_password(file: &Path) -> Result<Secret> {
    let bytes = read_file(file, PASSWORD_BYTES_MAX).map_err(|error| CliError::chain(&error))?;
    match std::str::from_utf8(&bytes).map(str::trim_end) {
        Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
        _ => Err(CliError::failed(format!("there is no password in {}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        accounts: AccountArgs,
    }

    fn settle(arguments: &[&str], environment: &[(&str, &str)]) -> Result<AccountSettings> {
        let arguments = std::iter::once("test").chain(arguments.iter().copied());
        let command = Command::try_parse_from(arguments).map_err(|error| CliError::usage(error.to_string()))?;
        let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut problems = Problems::default();
        let settings = command.accounts.settle(&pairs.collect(), Registration::First, &mut problems);
        problems.into_result().map(|()| settings)
    }

    const FROM: [&str; 2] = ["--mail-from", "Ensign <ensign@example.com>"];

    #[test]
    fn where_mail_goes() {
        let settings = settle(&[], &[]).unwrap();
        assert!((settings.registration, settings.mail.is_none()) == (Registration::First, true));
        assert_eq!(settle(&["--registration", "closed"], &[]).unwrap().registration, Registration::Closed);
        let check = |url: &str, host: &str, port: Option<u16>, security: MailSecurity, user: Option<&str>| {
            let arguments = [&["--smtp-url", url], FROM.as_slice()].concat();
            let mail = settle(&arguments, &[(PASSWORD, "hush")]).unwrap().mail.unwrap();
            let found =
                (mail.host.as_str(), mail.port, mail.security, mail.login.as_ref().map(|(user, _)| user.as_str()));
            assert_eq!(found, (host, port, security, user), "{url}");
        };
        check("smtps://ann@mail.example.com", "mail.example.com", None, MailSecurity::Tls, Some("ann"));
        check(
            "smtp://a@b.c@mail.example.com:2525/",
            "mail.example.com",
            Some(2525),
            MailSecurity::StartTls,
            Some("a@b.c"),
        );
        check("smtp+plaintext://localhost:25", "localhost", Some(25), MailSecurity::Plaintext, None);
        check("smtp+plaintext://[::1]:25", "::1", Some(25), MailSecurity::Plaintext, None);
    }

    #[test]
    fn what_is_refused() {
        for bad in ["mail.example.com", "http://x", "smtp://", "smtp://ann:hush@x", "smtp://x:y", "smtp://x/y"] {
            assert!(settle(&[&["--smtp-url", bad], FROM.as_slice()].concat(), &[]).is_err(), "{bad}");
        }
        let refused = |arguments: &[&str]| format!("{:?}", settle(arguments, &[]).unwrap_err());
        assert!(refused(&["--smtp-url", "smtp://x"]).contains("--mail-from"));
        assert!(refused(&FROM).contains("--smtp-url"));
        assert!(refused(&[&["--smtp-url", "smtp://ann@x"], FROM.as_slice()].concat()).contains(PASSWORD));
        assert!(refused(&[&["--smtp-url", "smtp+plaintext://x"], FROM.as_slice()].concat()).contains("without TLS"));
        assert!(refused(&["--smtp-url", "smtp://x", "--mail-from", "nobody"]).contains("nobody"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        crate::sys::files::write_private_file(&file, b"hush\n").unwrap();
        let arguments = ["--smtp-url", "smtp://ann@x", "--smtp-password-file", file.to_str().unwrap()];
        let mail = settle(&[&arguments, FROM.as_slice()].concat(), &[]).unwrap().mail.unwrap();
        assert_eq!(mail.login.unwrap().1.expose(), b"hush");
    }
}
