//! What is asked for by strangers and done in the background, so that the answer tells nothing, not even by its time:
//! mail for an address that may have a user or not.

use std::sync::Weak;

use tokio::sync::{mpsc, oneshot};

use super::{AccountError, Identity, links::Purpose, service::Inner};

/// How many errands may wait; what comes on top is given up.
pub(super) const ERRANDS_WAITING_MAX: usize = 256;

/// Something to do for whoever has an address.
#[derive(Debug)]
pub(super) enum Errand {
    Verification(String),
    PasswordReset(String),
    Flush(oneshot::Sender<()>),
}

impl Identity {
    /// Mails the user of an address, if there is one and it has yet to be verified, a new token for it. What comes of it
    /// is not told.
    pub fn resend_verification(&self, email: &str) {
        self.ask(Errand::Verification(email.to_owned()));
    }

    /// Mails the user of an address, if there is one, a token for another password. What comes of it is not told.
    pub fn forgot_password(&self, email: &str) {
        self.ask(Errand::PasswordReset(email.to_owned()));
    }

    pub(super) async fn finish_errands(&self) {
        let (done, finished) = oneshot::channel();
        if self.inner.errands.send(Errand::Flush(done)).await.is_ok() {
            // The task drops the sender without a word only when the runtime is being shut down.
            finished.await.ok();
        }
    }

    fn ask(&self, errand: Errand) {
        if self.inner.errands.try_send(errand).is_err() {
            tracing::warn!("mail given up that somebody asked for: too much is asked for");
        }
    }

    async fn carry_out(&self, errand: Errand) -> Result<(), AccountError> {
        match errand {
            Errand::Verification(email) => match self.user_of_email(&email).await? {
                Some((id, _, _)) => self.send_verification(id).await,
                None => Ok(()),
            },
            Errand::PasswordReset(email) => match self.user_of_email(&email).await? {
                Some((id, record, _)) => self.send_link(id, record.email, record.name, Purpose::PasswordReset).await,
                None => Ok(()),
            },
            Errand::Flush(done) => {
                // Whoever asked may have stopped waiting.
                done.send(()).ok();
                Ok(())
            }
        }
    }
}

/// Does one errand after the other, until the last handle is gone.
pub(super) async fn run(inner: Weak<Inner>, mut asked: mpsc::Receiver<Errand>) {
    while let Some(errand) = asked.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = (Identity { inner }).carry_out(errand).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "mail given up that somebody asked for");
        }
    }
}
