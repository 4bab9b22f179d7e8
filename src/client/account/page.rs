//! Lists, which servers give out in pages.

use serde::de::DeserializeOwned;

use super::Account;
use crate::client::{ClientError, rest::encoded};

/// A part of a list.
pub(super) trait Page: DeserializeOwned {
    type Item;

    /// What is on it, and where the next one begins; an empty text on the last one.
    fn into_parts(self) -> (Vec<Self::Item>, String);
}

impl Account {
    /// Everything in a list. The path may have a query already.
    pub(super) async fn all<P: Page>(&self, path: &str) -> Result<Vec<P::Item>, ClientError> {
        let mut items = Vec::new();
        let mut page: P = self.get(path).await?;
        loop {
            let (more, next) = page.into_parts();
            items.extend(more);
            if next.is_empty() {
                return Ok(items);
            }
            let joint = if path.contains('?') { '&' } else { '?' };
            page = self.get(&format!("{path}{joint}next_page_token={}", encoded(&next))).await?;
        }
    }
}
