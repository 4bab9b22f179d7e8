//! Lists that come in pages, and the tokens that continue them.
//!
//! A token holds the key of the last item of its page. It is authenticated, so that nobody else can make one, and bound
//! to its list and project; it is good for a day. A list goes on behind the key whether or not its item still exists.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    error::{InvalidRequest, OpenBrokerError},
    record::PAGE_KEY,
};
use crate::{
    model::{
        ProjectId, Secret, Time,
        limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX},
    },
    store::{RecordError, Records, Transaction},
    sys::Entropy,
};

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
const TOKEN_BYTES: usize = 1 + 1 + 8 + 16 + MAC_BYTES;
const VERSION: u8 = 1;

/// How long a token is good for.
const VALID_MS: i64 = 24 * 60 * 60 * 1_000;

/// What part of a list a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; 0 means the default.
    pub size: u32,
    /// What the page before ended with; empty for the first page.
    pub token: String,
}

impl PageRequest {
    pub(super) fn count(&self) -> usize {
        match usize::try_from(self.size).unwrap_or(usize::MAX) {
            0 => PAGE_SIZE_DEFAULT,
            size => size.min(PAGE_SIZE_MAX),
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Continues the list; empty on the last page.
    pub next_token: String,
}

impl<T> Page<T> {
    pub(super) fn empty() -> Page<T> {
        Page { items: Vec::new(), next_token: String::new() }
    }
}

/// The lists that come in pages; the numbers are in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum List {
    Topics = 1,
    Names = 2,
    Groups = 3,
}

/// Issues and reads tokens.
#[derive(Debug)]
pub(super) struct PageTokens {
    key: Secret,
}

impl PageTokens {
    /// Reads the key from the records, and makes one on the first opening.
    pub(super) async fn open(records: &Records, entropy: &Entropy) -> Result<PageTokens, OpenBrokerError> {
        let fresh: [u8; KEY_BYTES] = entropy.bytes();
        loop {
            if let Some(stored) = records.get(PAGE_KEY).await? {
                if stored.value.len() != KEY_BYTES {
                    return Err(OpenBrokerError::Damaged { what: "page key", key: PAGE_KEY.into() });
                }
                return Ok(PageTokens { key: Secret::new(stored.value.to_vec()) });
            }
            let transaction = Transaction::new().check(PAGE_KEY, None).put(PAGE_KEY, fresh.to_vec());
            match records.commit(transaction).await {
                // Who made the key meanwhile made it for everybody.
                Ok(_) | Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn with_key(key: [u8; KEY_BYTES]) -> PageTokens {
        PageTokens { key: Secret::new(key) }
    }

    /// The token of the page after the one that ended with `last`.
    pub(super) fn issue(&self, list: List, project: ProjectId, last: [u8; 16], now: Time) -> String {
        let expires = millis(now) + VALID_MS;
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend([VERSION, list as u8]);
        token.extend(expires.to_be_bytes());
        token.extend(last);
        let tag = self.mac(project, &token).finalize().into_bytes();
        token.extend(&tag[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The key that a page starts behind; `None` for the first.
    pub(super) fn read(
        &self,
        list: List,
        project: ProjectId,
        token: &str,
        now: Time,
    ) -> Result<Option<[u8; 16]>, InvalidRequest> {
        if token.is_empty() {
            return Ok(None);
        }
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidRequest::PageToken)?;
        let token = <[u8; TOKEN_BYTES]>::try_from(token).map_err(|_| InvalidRequest::PageToken)?;
        let (content, tag) = token.split_at(TOKEN_BYTES - MAC_BYTES);
        self.mac(project, content).verify_truncated_left(tag).map_err(|_| InvalidRequest::PageToken)?;
        let (head, rest) = content.split_at(2);
        let (expires, last) = rest.split_at(8);
        let expires = i64::from_be_bytes(expires.try_into().expect("it was split off with this length"));
        if head != [VERSION, list as u8] || millis(now) >= expires {
            return Err(InvalidRequest::PageToken);
        }
        Ok(Some(last.try_into().expect("it is what is left of a token's length")))
    }

    fn mac(&self, project: ProjectId, content: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("HMAC takes keys of any length");
        mac.chain_update(project.as_bytes()).chain_update(content)
    }
}

fn millis(time: Time) -> i64 {
    time.nanos().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Ulid;

    const DAY: i64 = 24 * 60 * 60 * 1_000;

    fn tokens() -> PageTokens {
        PageTokens::with_key([7; KEY_BYTES])
    }

    fn project(number: u8) -> ProjectId {
        ProjectId(Ulid::from_bytes([number; 16]))
    }

    #[test]
    fn a_token_is_bound_to_list_project_and_day() {
        let tokens = tokens();
        let now = Time::from_millis(1_700_000_000_000);
        let token = tokens.issue(List::Topics, project(1), [3; 16], now);
        let read = |list, project, at| tokens.read(list, project, &token, Time::from_millis(at));
        let made = 1_700_000_000_000;
        assert_eq!(read(List::Topics, project(1), made), Ok(Some([3; 16])));
        assert_eq!(read(List::Topics, project(1), made + DAY - 1), Ok(Some([3; 16])));
        assert_eq!(read(List::Topics, project(1), made + DAY), Err(InvalidRequest::PageToken));
        assert_eq!(read(List::Names, project(1), made), Err(InvalidRequest::PageToken));
        assert_eq!(read(List::Topics, project(2), made), Err(InvalidRequest::PageToken));
        let other = PageTokens { key: Secret::new([8; 32]) };
        assert_eq!(other.read(List::Topics, project(1), &token, now), Err(InvalidRequest::PageToken));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let tokens = tokens();
        let now = Time::from_millis(0);
        let good = tokens.issue(List::Topics, project(1), [3; 16], now);
        for bad in ["garbage!", " ", "AAAA", &format!("{good}="), &good[..good.len() / 2], &format!("{good}A")] {
            let read = tokens.read(List::Topics, project(1), bad, now);
            assert_eq!(read, Err(InvalidRequest::PageToken), "{bad:?}");
        }
        assert_eq!(tokens.read(List::Topics, project(1), "", now), Ok(None));
    }

    #[test]
    fn sizes() {
        let count = |size| PageRequest { size, token: String::new() }.count();
        assert_eq!([count(0), count(1), count(5_000), count(5_001), count(u32::MAX)], [100, 1, 5_000, 5_000, 5_000]);
    }

    #[tokio::test]
    async fn the_key_outlives_the_process() {
        let records = crate::store::Store::memory().records;
        let now = Time::from_millis(0);
        let first = PageTokens::open(&records, &Entropy::seeded(1)).await.unwrap();
        let token = first.issue(List::Names, project(1), [9; 16], now);
        let second = PageTokens::open(&records, &Entropy::seeded(2)).await.unwrap();
        assert_eq!(second.read(List::Names, project(1), &token, now), Ok(Some([9; 16])));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(last: [u8; 16], at in 0_usize..TOKEN_BYTES, bit in 0_u8..8) {
            let tokens = tokens();
            let now = Time::from_millis(0);
            let mut bytes = URL_SAFE_NO_PAD.decode(tokens.issue(List::Names, project(1), last, now)).unwrap();
            bytes[at] ^= 1 << bit;
            let read = tokens.read(List::Names, project(1), &URL_SAFE_NO_PAD.encode(bytes), now);
            prop_assert_eq!(read, Err(InvalidRequest::PageToken));
        }
    }
}
