//! Lists in pages, as their routes ask for them.

use super::{input::Parameters, reply::Refusal};
use crate::identity::{PageError, PageRequest};

/// The parameters of every list.
pub(super) const PAGING: [(&str, &str); 2] = [
    ("page_size", "How many items at most; 100 when it does not say"),
    ("next_page_token", "What the page before ended with; it knows the size of its pages"),
];

/// What part of a list a request wants.
pub(super) fn request(parameters: &Parameters) -> Result<PageRequest, Refusal> {
    Ok(PageRequest { size: parameters.number("page_size")?, token: parameters.text("next_page_token").to_owned() })
}

/// Why there is no such page.
pub(super) fn refusal(error: PageError) -> Refusal {
    Refusal::bad_request(error.to_string())
}
