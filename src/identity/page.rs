//! Lists that come in pages, and the tokens that continue them.
//!
//! A token holds where its page ended and how many items it was asked for. It is sealed, bound to its list and
//! organization, and good for a day. A list goes on behind the place whether or not its item still exists.

use std::cmp::Ordering;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Identity;
use crate::model::{
    OrganizationId, Time, Ulid,
    limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX},
};

const TOKEN_BYTES: usize = 1 + 4 + 8 + 8 + 16;
const VERSION: u8 = 1;

/// How long a token is good for.
const VALID_NS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// A list, and which of its ends comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    name: &'static str,
    is_newest_first: bool,
}

impl List {
    pub const fn newest_first(name: &'static str) -> List {
        List { name, is_newest_first: true }
    }

    pub const fn oldest_first(name: &'static str) -> List {
        List { name, is_newest_first: false }
    }

    fn compare(self, a: Place, b: Place) -> Ordering {
        if self.is_newest_first { b.cmp(&a) } else { a.cmp(&b) }
    }
}

/// What part of a list a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; 0 means the default. A token's own size counts for more.
    pub size: i32,
    /// What the page before ended with; empty for the first page.
    pub token: String,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Continues the list; none on the last page.
    pub next_token: Option<String>,
}

/// Why there is no such page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    #[error("validation error: cannot list database without a page size")]
    NegativeSize,
    #[error("could not parse the next page token")]
    Malformed,
    #[error("cursor has expired and is no longer useable")]
    Expired,
}

/// Where an item stands in its list: when it was made, and its identifier.
type Place = (Time, Ulid);

impl Identity {
    /// A page of a list, of which all items are given, in any order.
    ///
    /// # Errors
    ///
    /// When the size is negative, or the token was not issued for this list of this organization, or too long ago.
    pub fn page<T>(
        &self,
        list: List,
        organization: OrganizationId,
        request: &PageRequest,
        mut items: Vec<T>,
        place: impl Fn(&T) -> Place,
    ) -> Result<Page<T>, PageError> {
        let size = usize::try_from(request.size).map_err(|_| PageError::NegativeSize)?;
        let (size, after) = if request.token.is_empty() {
            (if size == 0 { PAGE_SIZE_DEFAULT } else { size.min(PAGE_SIZE_MAX) }, None)
        } else {
            let (size, after) = self.read_page_token(list, organization, &request.token)?;
            (size, Some(after))
        };
        items.sort_by(|a, b| list.compare(place(a), place(b)));
        if let Some(after) = after {
            items.retain(|item| list.compare(place(item), after).is_gt());
        }
        let more = items.len() > size;
        items.truncate(size);
        let last = items.last().filter(|_| more).map(place);
        let next_token = last.map(|last| self.page_token(list, organization, size, last));
        Ok(Page { items, next_token })
    }

    fn page_token(&self, list: List, organization: OrganizationId, size: usize, (time, id): Place) -> String {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.push(VERSION);
        token.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        token.extend(self.inner.clock.now().plus_nanos(VALID_NS).nanos().to_be_bytes());
        token.extend(time.nanos().to_be_bytes());
        token.extend(id.as_bytes());
        let context = context(list, organization);
        URL_SAFE_NO_PAD.encode(self.inner.root.seal(&self.inner.entropy, context.as_bytes(), &token))
    }

    fn read_page_token(
        &self,
        list: List,
        organization: OrganizationId,
        token: &str,
    ) -> Result<(usize, Place), PageError> {
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageError::Malformed)?;
        let opened = self.inner.root.open(context(list, organization).as_bytes(), &sealed);
        let opened = opened.ok_or(PageError::Malformed)?;
        let token = <[u8; TOKEN_BYTES]>::try_from(opened.as_slice()).map_err(|_| PageError::Malformed)?;
        let size = u32::from_be_bytes(*token[1..].first_chunk().expect("it is longer"));
        let number = |at: usize| i64::from_be_bytes(*token[at..].first_chunk().expect("it is longer"));
        let id = Ulid::from_bytes(*token[21..].first_chunk().expect("it is as long"));
        if token[0] != VERSION {
            return Err(PageError::Malformed);
        }
        if self.inner.clock.now().nanos() >= number(5) {
            return Err(PageError::Expired);
        }
        Ok((usize::try_from(size).unwrap_or(usize::MAX), (Time::from_nanos(number(13)), id)))
    }
}

fn context(list: List, organization: OrganizationId) -> String {
    format!("identity/page/{}/{organization}", list.name)
}
