//! New token signing keys: when one is due, and when one is asked for.

use super::{Identity, IdentityError, signing::SigningKeys};

impl Identity {
    /// Signs tokens with a new key from now on; gives the identifiers of all keys, the new one last. Tokens that were
    /// signed with the others stay good until they end.
    pub async fn rotate_signing_key(&self) -> Result<Vec<String>, IdentityError> {
        let inner = &self.inner;
        let _alone = inner.rotating.lock().await;
        self.make_signing_key().await
    }

    /// Makes a new key when the one that signs is old. Called with every sign-in, so a server where nobody signs in has no
    /// new key, and needs none.
    pub(super) async fn rotate_when_due(&self) {
        if !self.is_due() {
            return;
        }
        // Whoever waited for another one to do it finds it done.
        let _alone = self.inner.rotating.lock().await;
        if self.is_due()
            && let Err(error) = self.make_signing_key().await
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "no new token signing key could be made; the old one goes on signing");
        }
    }

    fn is_due(&self) -> bool {
        let age = i64::try_from(self.inner.signing_key_age.as_nanos()).unwrap_or(i64::MAX);
        self.signing().newest().made.plus_nanos(age) <= self.inner.clock.now()
    }

    async fn make_signing_key(&self) -> Result<Vec<String>, IdentityError> {
        let inner = &self.inner;
        let times = (&inner.clock, &inner.entropy);
        let keys = SigningKeys::rotate(&inner.records, &inner.root, times, inner.rules.refresh).await?;
        let ids = keys.ids();
        self.set_signing(keys);
        Ok(ids)
    }
}
