//! Our errors as gRPC statuses; the only place that turns one into the other.

use tonic::Status;

use crate::{broker::BrokerError, identity::TokenError, model::Code};

/// The status of a request that the broker did not carry out. What is wrong on our side is logged with its causes, of
/// which the client learns nothing.
pub(super) fn broker_status(error: &BrokerError) -> Status {
    if error.code() == Code::Internal {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "request failed");
    }
    Status::new(grpc_code(error.code()), error.to_string())
}

/// The status of a request whose token is not accepted; which of the reasons it is stays with us.
pub(super) fn token_status(error: &TokenError) -> Status {
    let error = error as &dyn std::error::Error;
    tracing::debug!(error, "token refused");
    Status::unauthenticated("invalid credentials")
}

/// The status of a message that is not what it should be.
pub(super) fn decode_status(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(format!("could not decode the request: {error}"))
}

fn grpc_code(code: Code) -> tonic::Code {
    tonic::Code::from_i32(code as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_wire() {
        let check = |code, expected| assert_eq!(grpc_code(code), expected);
        check(Code::InvalidArgument, tonic::Code::InvalidArgument);
        check(Code::NotFound, tonic::Code::NotFound);
        check(Code::AlreadyExists, tonic::Code::AlreadyExists);
        check(Code::PermissionDenied, tonic::Code::PermissionDenied);
        check(Code::ResourceExhausted, tonic::Code::ResourceExhausted);
        check(Code::FailedPrecondition, tonic::Code::FailedPrecondition);
        check(Code::Aborted, tonic::Code::Aborted);
        check(Code::Unimplemented, tonic::Code::Unimplemented);
        check(Code::Internal, tonic::Code::Internal);
        check(Code::Unavailable, tonic::Code::Unavailable);
        check(Code::Unauthenticated, tonic::Code::Unauthenticated);
    }
}
