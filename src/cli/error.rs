//! Errors as the person who typed the command sees them: one line that says what went wrong with which thing, a hint
//! with the command that helps, and an exit code.

use std::{io, process::ExitCode};

use crate::client::{ClientError, Code, TlsProblem};

/// What kind of failure it was: this decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Failed,
    Usage,
    NotFound,
    NotAllowed,
    Unreachable,
    Unmet,
    Interrupted,
    /// Whoever read our output went away. That is not a failure.
    ClosedPipe,
}

/// All kinds with an exit code of their own, as `ensign help exit-codes` lists them.
pub(super) const EXIT_CODES: [(u8, &str); 8] = [
    (0, "done"),
    (1, "failed"),
    (2, "the command line is wrong"),
    (3, "not found"),
    (4, "not signed in, or not allowed"),
    (5, "the server can't be reached"),
    (6, "an expectation was not met, or a check failed"),
    (130, "interrupted"),
];

impl Kind {
    fn exit_code(self) -> u8 {
        match self {
            Kind::ClosedPipe => 0,
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::NotAllowed => 4,
            Kind::Unreachable => 5,
            Kind::Unmet => 6,
            Kind::Interrupted => 130,
        }
    }

    /// The word for it in JSON.
    fn name(self) -> &'static str {
        match self {
            Kind::ClosedPipe | Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::NotFound => "not_found",
            Kind::NotAllowed => "not_allowed",
            Kind::Unreachable => "unreachable",
            Kind::Unmet => "check_failed",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CliError {
    pub(super) kind: Kind,
    pub(super) message: String,
    /// Lines that show a person the place that it is about, each with its end.
    pub(super) excerpt: Option<String>,
    pub(super) hint: Option<String>,
}

pub(super) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> CliError {
        CliError { kind, message: message.into(), excerpt: None, hint: None }
    }

    pub(super) fn failed(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Usage, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> CliError {
        CliError::new(Kind::NotFound, message)
    }

    pub(super) fn not_allowed(message: impl Into<String>) -> CliError {
        CliError::new(Kind::NotAllowed, message)
    }

    pub(super) fn unreachable(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Unreachable, message)
    }

    /// What was to be found out was found out, and it is not as it should be.
    pub(super) fn check_failed(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Unmet, message)
    }

    /// Stopped by ctrl-c. Says nothing more: whoever pressed it knows.
    pub(super) fn interrupted() -> CliError {
        CliError::new(Kind::Interrupted, "")
    }

    /// Adds what to do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint = Some(hint.into());
        self
    }

    /// Shows a person the place that it is about, in lines that each have their end.
    #[must_use]
    pub(super) fn excerpt(mut self, lines: String) -> CliError {
        self.excerpt = Some(lines);
        self
    }

    /// Says in front which thing it is about.
    #[must_use]
    pub(super) fn about(mut self, thing: impl std::fmt::Display) -> CliError {
        if self.kind != Kind::Unreachable && self.kind != Kind::Interrupted {
            self.message = format!("{thing}: {}", self.message);
        }
        self
    }

    /// An error and its causes, in one line.
    pub(super) fn chain(error: &dyn std::error::Error) -> CliError {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        CliError::failed(message)
    }

    /// Failing to write to standard output: a closed pipe is no error, a full disk is.
    pub(super) fn output(error: &io::Error) -> CliError {
        CliError::not_written(error, "standard output")
    }

    /// The same for output that may go elsewhere.
    pub(super) fn not_written(error: &io::Error, sink: &str) -> CliError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return CliError::new(Kind::ClosedPipe, "");
        }
        CliError::failed(format!("can't write to {sink}: {error}"))
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_code())
    }

    /// The text for standard error, with an end of line; nothing for what needs no words.
    pub(super) fn render(&self, json: bool, color: bool) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        if json {
            let error = serde_json::json!({
                "error": { "code": self.kind.name(), "message": self.message, "hint": self.hint }
            });
            return format!("{error}\n");
        }
        let (red, cyan, off) = if color { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let hint = self.hint.as_ref().map(|hint| format!("{cyan}hint:{off} {hint}\n"));
        let excerpt = self.excerpt.as_deref().unwrap_or_default();
        format!("{red}error:{off} {}\n{excerpt}{}", self.message, hint.unwrap_or_default())
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        let message = error.to_string();
        match error {
            ClientError::Unreachable { address, .. } => {
                let error = CliError::unreachable(message);
                if address.contains("localhost") || address.contains("127.0.0.1") {
                    error.hint("start a server with `ensign dev-server`")
                } else {
                    error.hint("`ensign status --wait 30s` waits for the server; --endpoint names another")
                }
            }
            ClientError::Untrusted { problem, address } => {
                let hint = trust_hint(&problem, &address);
                CliError { hint, ..CliError::unreachable(message) }
            }
            ClientError::NoCredentials { .. }
            | ClientError::LoginRefused { .. }
            | ClientError::Refused { code: Code::Unauthenticated, .. }
            | ClientError::Rejected { status: 401, .. } => CliError::not_allowed(message).hint(SIGN_IN),
            ClientError::Refused { code: Code::NotFound, .. } | ClientError::Rejected { status: 404, .. } => {
                CliError::not_found(message)
            }
            ClientError::Refused { code: Code::PermissionDenied, .. } => {
                CliError::not_allowed(message).hint("`ensign whoami` lists what the key may do")
            }
            ClientError::Refused { code: Code::Unavailable, .. } => CliError::unreachable(message),
            ClientError::Rejected { status: 403, .. } => CliError::not_allowed(message)
                .hint("`ensign whoami` tells your role; an owner or an admin may be able to"),
            ClientError::Rejected { status: 429, .. } => CliError::failed(message).hint("try again in a moment"),
            ClientError::Unverified { .. } => CliError::not_allowed(message).hint(VERIFY),
            _ => CliError::failed(message),
        }
    }
}

/// What to do when a server and its client can't agree on TLS.
fn trust_hint(problem: &TlsProblem, address: &str) -> Option<String> {
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    Some(match problem {
        TlsProblem::UnknownAuthority => {
            "if you know the authority, name its certificate with --ca-file; a dev-server keeps its own in DATA_DIR/tls/ca.pem"
                .to_owned()
        }
        TlsProblem::OtherName { names } => match names.first() {
            Some(name) => format!("use the server's own name, for example {name}"),
            None => "use the server's own name".to_owned(),
        },
        TlsProblem::Ended => "the server needs a new certificate".to_owned(),
        TlsProblem::ClientCertificateNeeded => "name one with --client-cert and --client-key".to_owned(),
        TlsProblem::ServerSpeaksPlaintext => format!("--endpoint http://{host} speaks plaintext"),
        TlsProblem::ServerSpeaksTls => format!("--endpoint https://{host} speaks TLS"),
        _ => return None,
    })
}

const SIGN_IN: &str = "sign in with `ensign login --client-id ID`";

const VERIFY: &str = "`ensign register --verify` takes the token of the mail, which is in the log of a server that mails \
                      nothing; `ensign register --resend --email ADDRESS` makes another";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_or_one_object() {
        let error = CliError::not_found("no such topic").about("topic flights").hint("make it");
        assert_eq!(error.render(false, false), "error: topic flights: no such topic\nhint: make it\n");
        assert_eq!(
            error.render(true, false),
            "{\"error\":{\"code\":\"not_found\",\"message\":\"topic flights: no such topic\",\"hint\":\"make it\"}}\n"
        );
        assert_eq!(CliError::interrupted().render(true, true), "");
    }

    #[test]
    fn every_kind_has_a_documented_exit_code() {
        for kind in [
            Kind::Failed,
            Kind::Usage,
            Kind::NotFound,
            Kind::NotAllowed,
            Kind::Unreachable,
            Kind::Unmet,
            Kind::Interrupted,
            Kind::ClosedPipe,
        ] {
            assert!(EXIT_CODES.iter().any(|(code, _)| *code == kind.exit_code()), "{kind:?}");
        }
    }
}
