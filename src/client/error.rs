//! What can go wrong between this client and a server.

use std::error::Error;

/// The code of a gRPC status.
pub use tonic::Code;
use tonic::Status;

use super::{Endpoint, TlsProblem, trust::tls_problem};

#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing answered, or the connection broke.
    #[error("can't reach {address}: {reason}")]
    Unreachable { address: String, reason: String },
    /// The authentication service did not take the credentials.
    #[error("{auth_url} refused the credentials: {reason}")]
    LoginRefused { auth_url: String, reason: String },
    /// The authentication service answered something else than a token or a refusal.
    #[error("{auth_url} can't sign anyone in: {reason}")]
    LoginFailed { auth_url: String, reason: String },
    /// A call that needs credentials was made without any.
    #[error("not signed in to {address}")]
    NoCredentials { address: String },
    /// The server answered with an error.
    #[error("{message}")]
    Refused { code: Code, message: String },
    /// The REST API answered with an error.
    #[error("{message}")]
    Rejected { status: u16, message: String },
    /// The password was right, and the address of the account has not been verified yet.
    #[error("{message}")]
    Unverified { message: String },
    /// The server said something that the protocol does not allow.
    #[error("{address} did not follow the protocol: {what}")]
    Protocol { address: String, what: String },
    /// Both sides were there, and could not agree on TLS.
    #[error("can't talk to {address}: {problem}")]
    Untrusted { address: String, problem: TlsProblem },
    /// TLS could not be set up on this side.
    #[error("TLS can't be used: {reason}")]
    Tls { reason: String },
}

impl ClientError {
    /// Tells apart what the server said from what the transport did.
    pub(super) fn from_status(endpoint: &Endpoint, status: &Status) -> ClientError {
        if let Some(problem) = status.source().and_then(tls_problem) {
            return ClientError::Untrusted { address: endpoint.address().to_string(), problem };
        }
        let transport = status.source().is_some();
        if transport || (status.code() == Code::Unavailable && status.message().contains("transport error")) {
            let reason = status.source().map_or_else(|| status.message().to_owned(), root_cause);
            return ClientError::Unreachable { address: endpoint.address().to_string(), reason };
        }
        let message = if status.message().is_empty() {
            status.code().description().to_lowercase()
        } else {
            status.message().to_owned()
        };
        ClientError::Refused { code: status.code(), message }
    }

    /// The code of the server's answer, when this is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The HTTP status of the REST API's answer, when this is one.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Rejected { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same call can succeed a little later without anyone doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::Refused { code, .. } => matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled),
            ClientError::Rejected { status, .. } => *status == 429,
            _ => false,
        }
    }
}

/// The text of the innermost cause, without the operating system's number for it: what a person wants to read.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "the connection failed".to_owned(),
    }
}
