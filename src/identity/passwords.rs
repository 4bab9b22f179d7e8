//! Passwords: how strong they have to be, and what ends when one is replaced.

use zxcvbn::{Score, zxcvbn};

use super::{
    AccountError, Identity, IdentityError,
    links::Purpose,
    record::{encode, place},
};
use crate::{
    model::{Secret, UserId},
    store::{RecordError, Transaction},
};

/// The shortest password, in bytes.
const BYTES_MIN: usize = 8;

/// What a password has to be rated at: it takes more than a hundred million guesses.
const SCORE_MIN: Score = Score::Three;

impl Identity {
    /// Refuses a password that is too easy to guess for somebody who knows these words of its user.
    pub async fn check_password(&self, password: &Secret, known: &[&str]) -> Result<(), AccountError> {
        let known = known.iter().map(|word| (*word).to_owned()).collect();
        if self.inner.hasher.judge(password.clone(), known).await? { Ok(()) } else { Err(AccountError::WeakPassword) }
    }

    /// Sets another password with the token that was mailed for it, which is good once. Everything that was signed in
    /// with the old one ends.
    pub async fn reset_password(&self, token: &str, password: Secret) -> Result<(), AccountError> {
        // Who has no token gets no hash made: all sign-ins wait in the same line.
        self.good_link(token, Purpose::PasswordReset).await?;
        let hash = self.inner.hasher.hash(password).await?;
        loop {
            let link = self.good_link(token, Purpose::PasswordReset).await?;
            let user = link.record.user().ok_or(AccountError::UnknownToken)?;
            match self.replace_password(user, hash.clone(), link.spend(Transaction::new())).await {
                Ok(()) => return Ok(()),
                // Either the token has been used, which is seen now, or something else of the user is another one now.
                Err(IdentityError::Records { source: RecordError::Conflict { .. } }) => {}
                Err(IdentityError::NotFound { .. }) => return Err(AccountError::UnknownToken),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Replaces a user's password, together with what the transaction has. All that was signed in with the old one
    /// ends, in every organization.
    pub(super) async fn replace_password(
        &self,
        user: UserId,
        hash: String,
        transaction: Transaction,
    ) -> Result<(), IdentityError> {
        let _turn = self.inner.members.lock().await;
        let not_found = || IdentityError::NotFound { kind: "user", id: user.to_string() };
        let (mut record, revision) = self.user_record(user).await?.ok_or_else(not_found)?;
        record.password_hash = hash;
        record.modified_ns = Some(self.inner.clock.now().nanos());
        let place = place::user(user);
        let mut transaction = transaction.check(place.clone(), Some(revision)).put(place, encode(&record));
        let mut standings = Vec::new();
        for organization in self.organizations_of(user).await? {
            let member = (user, organization);
            let Some(mut membership) = self.membership(member).await? else { continue };
            membership.record.epoch = self.new_epoch();
            membership.record.session = self.new_epoch();
            let place = place::member(member);
            transaction =
                transaction.check(place.clone(), Some(membership.revision)).put(place, encode(&membership.record));
            standings.push((member, membership.record.standing()));
        }
        self.inner.records.commit(transaction).await?;
        for (member, standing) in standings {
            self.inner.live.set_member(member, standing);
        }
        Ok(())
    }
}

/// Whether a password is strong enough. Takes milliseconds, and more for long ones.
pub(super) fn is_strong(password: &Secret, known: &[String]) -> bool {
    let Some(text) = password.expose_str() else { return false };
    let words =
        |text: &'_ String| text.split(|letter: char| !letter.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
    let words: Vec<String> = known.iter().flat_map(words).collect();
    let known: Vec<&str> = known.iter().chain(&words).map(String::as_str).filter(|word| !word.is_empty()).collect();
    text.len() >= BYTES_MIN && zxcvbn(text, &known).score() >= SCORE_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength() {
        let check = |password: &str, expected: bool| {
            let known = ["ann.lee@example.com".to_owned(), "Ann Lee".to_owned()];
            assert_eq!(is_strong(&Secret::new(password), &known), expected, "{password:?}");
        };
        for weak in ["", "short", "password", "Password1!", "12345678", "qwertyuiop", "ann.lee@example.com", "AnnLee1!"]
        {
            check(weak, false);
        }
        for strong in ["Ab1!secretlonger", "correct horse battery staple", "v7-Nq.pX2w_9", "Zz9?anotherlonger"] {
            check(strong, true);
        }
    }
}
