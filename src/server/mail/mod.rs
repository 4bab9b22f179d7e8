//! Mail by SMTP: what `identity` wants somebody to receive, sent in the background.
//!
//! Invariants: what waits to be sent is bounded, and so is how often it is tried. A token is in a message alone, never in
//! a log. A password is sent over TLS, or to this machine.
//!
//! What it does not do: keep mail over a restart. Who waits for some asks again.

mod message;

use std::{net::IpAddr, sync::Arc, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{identity::Mail, model::Secret, sys::Clock};

/// How many messages may wait; what comes on top is given up.
const WAITING_MAX: usize = 256;

/// How many are under way at the same time, those that are tried again included.
const UNDER_WAY_MAX: usize = 8;

/// How long to wait before a message is tried again, each time.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(5)];

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where mail is handed over.
#[derive(Debug, Clone)]
pub struct MailOptions {
    pub host: String,
    /// None for the usual one.
    pub port: Option<u16>,
    pub security: MailSecurity,
    /// Who signs in to the mail server, if anybody does.
    pub login: Option<(String, Secret)>,
    /// Whom mail is from: `ensign@example.com` or `Ensign <ensign@example.com>`.
    pub from: String,
    /// The address of a web application that takes tokens: what is mailed has links to `/verify`, `/reset-password` and
    /// `/invite` of it, each with `?token=`. None for tokens alone.
    pub links: Option<String>,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the first byte; usually at port 465.
    Tls,
    /// TLS before anything of worth is said, or nothing is sent; usually at port 587.
    StartTls,
    /// Not at all, which is allowed within this machine alone; usually at port 25.
    Plaintext,
}

/// Mail can't be sent with these options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    #[error("{text:?} is nobody whom mail could be from")]
    From {
        text: String,
        #[source]
        source: lettre::address::AddressError,
    },
    #[error("mail is not sent to {host} without TLS: only to this machine itself")]
    PlaintextElsewhere { host: String },
    #[error("the TLS certificates of this machine could not be read")]
    Certificates {
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

/// Sends mail until it is stopped.
#[derive(Debug, Clone)]
pub(super) struct Mailer {
    pub(super) outbox: mpsc::Sender<Mail>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What a message needs besides itself.
struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    links: Option<String>,
    clock: Clock,
}

impl MailSecurity {
    fn usual_port(self) -> u16 {
        match self {
            MailSecurity::Tls => 465,
            MailSecurity::StartTls => 587,
            MailSecurity::Plaintext => 25,
        }
    }
}

impl MailOptions {
    /// Says what is wrong with the options, as far as that can be known before anything is sent.
    ///
    /// # Errors
    ///
    /// When nobody could be the sender, or when passwords and tokens would travel in plaintext.
    pub fn check(&self) -> Result<(), MailError> {
        if self.security == MailSecurity::Plaintext && !is_this_machine(&self.host) {
            return Err(MailError::PlaintextElsewhere { host: self.host.clone() });
        }
        self.mailbox().map(drop)
    }

    fn mailbox(&self) -> Result<Mailbox, MailError> {
        self.from.parse().map_err(|source| MailError::From { text: self.from.clone(), source })
    }
}

impl Mailer {
    /// Begins to send what comes into the outbox. Needs a Tokio runtime.
    pub(super) fn start(options: &MailOptions, clock: &Clock) -> Result<Mailer, MailError> {
        options.check()?;
        let parameters =
            || TlsParameters::new(options.host.clone()).map_err(|source| MailError::Certificates { source });
        let tls = match options.security {
            MailSecurity::Tls => Tls::Wrapper(parameters()?),
            MailSecurity::StartTls => Tls::Required(parameters()?),
            MailSecurity::Plaintext => Tls::None,
        };
        let port = options.port.unwrap_or(options.security.usual_port());
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.host)
            .port(port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &options.login {
            let password = password.expose_str().unwrap_or_default();
            builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
        }
        let sender = Sender {
            transport: builder.build(),
            from: options.mailbox()?,
            links: options.links.clone(),
            clock: clock.clone(),
        };
        let (outbox, waiting) = mpsc::channel(WAITING_MAX);
        let mailer = Mailer { outbox, tasks: TaskTracker::new(), stopping: CancellationToken::new() };
        let (tasks, stopping) = (mailer.tasks.clone(), mailer.stopping.clone());
        mailer.tasks.spawn(run(Arc::new(sender), waiting, tasks, stopping));
        Ok(mailer)
    }

    /// Tries what waits once more, and gives up what fails. Resolves when nothing is under way any more.
    pub(super) async fn finish(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Sends what waits, several messages at the same time.
async fn run(sender: Arc<Sender>, mut waiting: mpsc::Receiver<Mail>, tasks: TaskTracker, stopping: CancellationToken) {
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let next = tokio::select! {
            biased;
            next = waiting.recv() => next,
            () = stopping.cancelled() => None,
        };
        let Some(mail) = next else { return };
        let (sender, stopping) = (sender.clone(), stopping.clone());
        tasks.spawn(async move {
            sender.deliver(&mail, &stopping).await;
            drop(place);
        });
    }
}

impl Sender {
    /// Sends one message, again and again if that could help.
    async fn deliver(&self, mail: &Mail, stopping: &CancellationToken) {
        let (to, purpose) = (&mail.to, &mail.purpose);
        let message = match message::compose(mail, &self.from, self.links.as_deref()) {
            Ok(message) => message,
            Err(error) => {
                let error = &*error as &(dyn std::error::Error + 'static);
                tracing::warn!(%to, %purpose, error, "mail given up: there is no such receiver");
                return;
            }
        };
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(error) = self.transport.send(message.clone()).await else {
                tracing::info!(%to, %purpose, "mail sent");
                return;
            };
            let pause = pauses.next().filter(|_| !error.is_permanent() && !stopping.is_cancelled());
            let Some(pause) = pause else {
                tracing::warn!(%to, %purpose, error = &error as &dyn std::error::Error, "mail given up");
                return;
            };
            tracing::warn!(%to, %purpose, error = &error as &dyn std::error::Error, "mail not sent, to be tried again");
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stopping.cancelled() => {}
            }
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
