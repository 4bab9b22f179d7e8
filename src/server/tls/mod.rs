//! TLS: what the server shows as its identity, and what a connection is that nobody has announced.
//!
//! TLS and plaintext share the port. The first byte of a connection tells them apart, and it is looked at without being
//! taken, so that plaintext costs one system call more and nothing after that. Where plaintext is not wanted it is refused
//! in its own words: HTTP/1 gets a text, HTTP/2 a GOAWAY with a reason.
//!
//! Invariants: opening a connection is bounded in time, and how many negotiate at once is bounded, too; neither holds up
//! who comes next. A server that asks for client certificates never takes plaintext, which would go around them. A
//! certificate that is replaced holds for new connections; those that are open keep what they were opened with. A key is
//! never logged.
//!
//! What it does not do: decide where files are, or when they are read again.

mod authority;
mod gate;
mod identity;
mod refusal;
mod validity;
mod wire;

pub use authority::{AuthorityError, LocalAuthority, LocalName};
pub use gate::Certificates;
pub use identity::{TlsError, TlsFiles, TlsIdentity};

pub(super) use gate::Gate;
pub(super) use wire::Wire;

/// How a server speaks TLS.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    pub identity: TlsIdentity,
    /// Whether plaintext is refused. It is in any case when clients have to show a certificate.
    pub only: bool,
}

#[cfg(test)]
mod tests;
