//! The kinds of failure that a caller can tell apart, whatever the wire.

/// What kind of failure an error is. The names and numbers are gRPC's, because every client knows those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// Whether the same request may succeed later without anything being changed by the caller.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Code::ResourceExhausted | Code::Aborted | Code::Unavailable)
    }
}
