//! The tracing subscriber and the panic hook.

use std::{io, panic};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, util::TryInitError};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("{directives:?} is not a log filter; write one like `info` or `warn,ensign::engine=debug`")]
    Filter {
        directives: String,
        #[source]
        source: ParseError,
    },
    #[error("logging has been set up already")]
    Already {
        #[from]
        source: TryInitError,
    },
}

/// Sends what `directives` let through to standard error, and has panics logged as errors. Once per process.
pub fn init(directives: &str, format: LogFormat, colors: bool) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError::Filter { directives: directives.to_owned(), source })?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colors);
    match format {
        LogFormat::Text => builder.finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    log_panics();
    Ok(())
}

/// Logs a panic with its place, then lets the hook that was there before do its work.
fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(%message, %place, %thread, "panicked");
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one test that sets the process's subscriber up.
    #[test]
    fn a_filter_is_checked_and_logging_starts_once() {
        assert!(matches!(init("ensign=loud", LogFormat::Text, false), Err(LogError::Filter { .. })));
        init("off", LogFormat::Json, false).unwrap();
        assert!(matches!(init("off", LogFormat::Text, false), Err(LogError::Already { .. })));
    }
}
