//! What happens around the start of a server: the allocator, the runtime, the way out of what prevents it.

use std::{io, path::Path};

use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
    },
    server::StartError,
    store::local,
    sys::{self, LockError},
};

/// How long the allocator keeps freed memory for the next who wants some, in milliseconds, and the variable that says so: it is read
/// before `main`. Its own second is so long that a busy server would hold twice of what it uses.
pub(in crate::cli) const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
const PURGE_DELAY_MS: &str = "20";

/// Begins the process anew with the allocator's settings for a server, if it does not have them.
pub(in crate::cli) fn keep_little_memory(context: &Context) {
    if context.environment.get(PURGE_DELAY).is_none() {
        // A server that can't begin anew keeps its memory for longer.
        let error = sys::begin_anew_with(PURGE_DELAY, PURGE_DELAY_MS);
        tracing::debug!(%error, "the allocator keeps its usual settings");
    }
}

/// A runtime with this many threads; without a number, as many as the machine has cores.
pub(in crate::cli) fn runtime(workers: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().map_err(|error| CliError::failed(format!("can't start: {error}")))
}

pub(in crate::cli) fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Why a server could not be started, with the way out.
pub(in crate::cli) fn explain(error: &StartError, data_dir: Option<&Path>) -> CliError {
    match error {
        StartError::Listen { addr, source } if is_taken(source) => {
            CliError::failed(format!("port {} on {} is taken", addr.port(), addr.ip()))
                .hint("`ensign status` tells whether a server runs there already; --addr 127.0.0.1:0 takes a free port")
        }
        StartError::Store(local::OpenError::Lock(LockError::Held { pid })) => {
            let dir = data_dir.map(|dir| dir.display().to_string()).unwrap_or_default();
            let holder = pid.map(|pid| format!(" by process {pid}")).unwrap_or_default();
            CliError::failed(format!("the data directory {dir} is in use{holder}"))
                .hint("stop that server, or start this one with --name OTHER or --data-dir DIR")
        }
        StartError::RootKey(error) => super::explain_root_key(error),
        other => CliError::chain(other),
    }
}
