//! Mail to a server that speaks RFC 5321 on this machine.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};

use super::*;
use crate::{identity::Purpose, model::Time};

/// What one session said, and the message that came with it.
#[derive(Debug)]
struct Received {
    commands: Vec<String>,
    message: String,
}

/// A mail server on a port of its own. The first `busy` messages are refused for now, later ones are taken; mail to
/// `nobody@…` is refused for good.
async fn mail_server(busy: usize) -> (u16, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (received, sessions) = mpsc::channel(16);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let session = serve(stream, number < busy).await;
            if received.send(session).await.is_err() {
                return;
            }
        }
    });
    (port, sessions)
}

async fn serve(stream: tokio::net::TcpStream, is_busy: bool) -> Received {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut session = Received { commands: Vec::new(), message: String::new() };
    writer.write_all(b"220 mail.test ready\r\n").await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH" => "235 2.7.0 signed in\r\n",
            "RCPT" if line.contains("nobody@") => "550 5.1.1 no such mailbox\r\n",
            "MAIL" if is_busy => "451 4.3.0 try again\r\n",
            "DATA" => "354 go ahead\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        session.commands.push(line);
        writer.write_all(reply.as_bytes()).await.unwrap();
        if verb == "DATA" {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line == "." {
                    break;
                }
                session.message.push_str(&line);
                session.message.push('\n');
            }
            writer.write_all(b"250 2.0.0 taken\r\n").await.unwrap();
        }
        if verb == "QUIT" {
            break;
        }
    }
    session
}

fn options(port: u16) -> MailOptions {
    MailOptions {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        security: MailSecurity::Plaintext,
        login: Some(("ensign".to_owned(), Secret::new("hush"))),
        from: "Ensign <ensign@example.com>".to_owned(),
        links: Some("https://app.example.com".to_owned()),
    }
}

fn mail(to: &str) -> Mail {
    Mail {
        purpose: Purpose::Verification,
        to: to.to_owned(),
        name: "Ann".to_owned(),
        organization: None,
        inviter: None,
        token: Secret::new("TOKEN"),
        expires: Time::from_millis(1_795_000_000_000),
    }
}

#[tokio::test]
async fn a_message_is_handed_over_by_who_signed_in() {
    let (port, mut sessions) = mail_server(0).await;
    let mailer = Mailer::start(&options(port), &Clock::real()).unwrap();
    mailer.outbox.send(mail("ann@example.com")).await.unwrap();
    let session = sessions.recv().await.unwrap();
    let said = |start: &str| session.commands.iter().any(|command| command.starts_with(start));
    // The name and the password in base64, with the zero bytes of PLAIN.
    assert!(said("AUTH PLAIN AGVuc2lnbgBodXNo"), "{session:?}");
    assert!(said("MAIL FROM:<ensign@example.com>") && said("RCPT TO:<ann@example.com>"), "{session:?}");
    assert!(session.message.contains("Subject: Verify your address\n"), "{session:?}");
    let unfolded = session.message.replace("=\n", "").replace("=3D", "=");
    assert!(unfolded.contains("https://app.example.com/verify?token=TOKEN"), "{session:?}");
    mailer.finish().await;
}

#[tokio::test]
async fn a_message_is_tried_again_when_that_can_help() {
    let (port, mut sessions) = mail_server(1).await;
    let mailer = Mailer::start(&options(port), &Clock::real()).unwrap();
    mailer.outbox.send(mail("ann@example.com")).await.unwrap();
    assert!(sessions.recv().await.unwrap().message.is_empty());
    assert!(sessions.recv().await.unwrap().message.contains("TOKEN"));
    mailer.outbox.send(mail("nobody@example.com")).await.unwrap();
    assert!(sessions.recv().await.unwrap().message.is_empty());
    mailer.outbox.send(mail("bob@example.com")).await.unwrap();
    let next = sessions.recv().await.unwrap();
    assert!(next.commands.iter().any(|command| command == "RCPT TO:<bob@example.com>"), "{next:?}");
    mailer.finish().await;
}

/// Stopping does not wait for a pause to end.
#[tokio::test]
async fn what_waits_is_tried_once_more_when_the_server_stops() {
    let (port, mut sessions) = mail_server(usize::MAX).await;
    let mailer = Mailer::start(&options(port), &Clock::real()).unwrap();
    for _ in 0..2 * UNDER_WAY_MAX {
        mailer.outbox.send(mail("ann@example.com")).await.unwrap();
    }
    assert!(sessions.recv().await.is_some());
    drop(sessions);
    tokio::time::timeout(Duration::from_mins(1), mailer.finish()).await.expect("it stops");
}

#[test]
fn options_that_would_show_a_password_are_refused() {
    let elsewhere = MailOptions { host: "mail.example.com".to_owned(), ..options(25) };
    assert!(matches!(elsewhere.check(), Err(MailError::PlaintextElsewhere { .. })));
    for security in [MailSecurity::Tls, MailSecurity::StartTls] {
        assert!(MailOptions { security, ..elsewhere.clone() }.check().is_ok());
    }
    let nobody = MailOptions { from: "nobody".to_owned(), ..options(25) };
    assert!(matches!(nobody.check(), Err(MailError::From { .. })));
    for host in ["localhost", "::1", "127.0.0.2"] {
        assert!(MailOptions { host: host.to_owned(), ..options(25) }.check().is_ok());
    }
    assert!(!format!("{:?}", options(25)).contains("hush"));
}
