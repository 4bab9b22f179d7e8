//! Queries. This version checks who asks, and serves none.

use super::{
    access::{self, Operation},
    error::{BrokerError, InvalidRequest},
    handle::Broker,
};
use crate::model::Principal;

impl Broker {
    /// Refuses an EnSQL query, with the caller's own fault if there is one.
    pub fn refuse_query(&self, principal: &Principal, text: &str) -> BrokerError {
        let checked = access::require(principal, Operation::Query)
            .and_then(|()| access::project(principal))
            .and_then(|_| if text.is_empty() { Err(InvalidRequest::EmptyQuery.into()) } else { Ok(()) });
        checked.err().unwrap_or(BrokerError::Unimplemented("EnSQL is not served by this version yet"))
    }

    /// Refuses to explain a query, with the caller's own fault if there is one.
    pub fn refuse_explanation(&self, principal: &Principal) -> BrokerError {
        let checked =
            access::require(principal, Operation::Explain).and_then(|()| access::project(principal).map(drop));
        checked.err().unwrap_or(BrokerError::Unimplemented("explain query is not implemented yet"))
    }
}
