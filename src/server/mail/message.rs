//! What mail looks like.

use lettre::{
    Message,
    message::{Mailbox, header::ContentType},
};

use crate::{
    identity::{Mail, Purpose},
    model::Time,
};

/// The message of a piece of mail.
pub(super) fn compose(
    mail: &Mail,
    from: &Mailbox,
    links: Option<&str>,
) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
    let to = Mailbox::new(None, mail.to.parse()?);
    let message = Message::builder().from(from.clone()).to(to).subject(subject(mail)).header(ContentType::TEXT_PLAIN);
    Ok(message.body(text(mail, links))?)
}

fn subject(mail: &Mail) -> String {
    match (mail.purpose, &mail.organization) {
        (Purpose::Verification, _) => "Verify your address".to_owned(),
        (Purpose::PasswordReset, _) => "Set another password".to_owned(),
        (Purpose::Removal, _) => "Confirm a removal".to_owned(),
        (Purpose::Invitation, Some(organization)) => format!("You are invited to {organization}"),
        (Purpose::Invitation, None) => "You are invited".to_owned(),
    }
}

fn text(mail: &Mail, links: Option<&str>) -> String {
    let greeting = if mail.name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", mail.name) };
    let organization = mail.organization.as_deref().filter(|name| !name.is_empty()).unwrap_or("an organization");
    let inviter = mail.inviter.as_deref().filter(|name| !name.is_empty()).unwrap_or("somebody");
    let (what, path) = match mail.purpose {
        Purpose::Verification => ("this verifies that mail to this address reaches you.".to_owned(), "verify"),
        Purpose::PasswordReset => ("this sets another password of your account.".to_owned(), "reset-password"),
        Purpose::Removal => ("this confirms a removal.".to_owned(), "confirm"),
        Purpose::Invitation => (format!("{inviter} invites you to join {organization}."), "invite"),
    };
    let token = mail.token.expose_str().unwrap_or_default();
    let how = if let Some(base) = links {
        format!("Follow this link:\n\n    {}/{path}?token={token}\n", base.trim_end_matches('/'))
    } else {
        let takes = match mail.purpose {
            Purpose::Verification => "`ensign register --verify` takes this token:",
            Purpose::PasswordReset => "`ensign password reset` takes this token:",
            Purpose::Invitation => "`ensign invite accept` takes this token:",
            Purpose::Removal => "This is the token:",
        };
        format!("{takes}\n\n    {token}\n")
    };
    // Nobody has to know the fraction of the second.
    let until = Time::from_parts(mail.expires.seconds(), 0);
    format!(
        "{greeting}\n\n{what}\n\n{how}\nIt is good once, until {until}. If you did not expect this mail, leave it alone.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn mail(purpose: Purpose) -> Mail {
        Mail {
            purpose,
            to: "ann@example.com".to_owned(),
            name: "Ann".to_owned(),
            organization: Some("Acme\r\nBcc: eve@example.com".to_owned()),
            inviter: Some("Bob".to_owned()),
            token: Secret::new("TOKEN"),
            expires: Time::from_millis(1_795_000_000_123),
        }
    }

    #[test]
    fn what_is_written() {
        let from = "Ensign <ensign@example.com>".parse().unwrap();
        let invitation = Mail { organization: Some("Acme".to_owned()), ..mail(Purpose::Invitation) };
        assert_eq!(
            text(&invitation, Some("https://app.example.com/")),
            "Hello Ann,\n\nBob invites you to join Acme.\n\nFollow this link:\n\n    \
             https://app.example.com/invite?token=TOKEN\n\n\
             It is good once, until 2026-11-18T11:06:40Z. If you did not expect this mail, leave it alone.\n"
        );
        let plain = text(&mail(Purpose::Verification), None);
        assert!(plain.contains("\n\n`ensign register --verify` takes this token:\n\n    TOKEN\n\n"), "{plain}");
        assert!(compose(&mail(Purpose::PasswordReset), &from, None).is_ok());
        let nobody = Mail { to: "ann@example.com, eve@example.com".to_owned(), ..mail(Purpose::PasswordReset) };
        assert!(compose(&nobody, &from, None).is_err());
    }

    /// A name with a line break does not become a header.
    #[test]
    fn a_name_is_no_header() {
        let from = "ensign@example.com".parse().unwrap();
        let message = compose(&mail(Purpose::Invitation), &from, None).unwrap().formatted();
        let message = String::from_utf8(message).unwrap();
        let head = message.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    }
}
