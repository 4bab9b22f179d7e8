//! `ensign dev-server`: a broker on this machine.

mod access;
mod banner;
mod child;

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::builder::FalseyValueParser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Context,
    error::{CliError, Result},
    output::error_text,
};
use crate::{
    model::Durability,
    server::{Server, ServerOptions, StartError, Storage},
    store::local,
    sys::{self, Entropy, LockError, files},
};
use access::{Access, Keeper};

/// The port of a server that nobody configured.
const PORT: u16 = 5356;

/// The name of a server that nobody named.
const NAME: &str = "dev";

/// Two are enough for one developer, and leave the machine's other cores to what is being developed.
const WORKERS: usize = 2;

/// How long the allocator keeps freed memory for the next who wants some, in milliseconds, and the variable that says so: it is read
/// before `main`. Its own second is so long that a busy server would hold twice of what it uses.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
const PURGE_DELAY_MS: &str = "20";

/// Run a broker on this machine
///
/// Starts with nothing to configure: the first start makes an organization, a project and an API key with all
/// permissions, and a selected profile, so that the next command just works. Events survive restarts, unless
/// --ephemeral says otherwise; an event is acknowledged when it is on stable storage.
///
/// With --durability os an event is acknowledged as soon as the operating system has it. That is faster on a slow disk, and
/// safe when the server is killed; but a loss of power, or of the machine, takes the last events with it, and offsets
/// that subscribers have seen are given to others. `ensign status` says which it is.
///
/// With a command behind --, the server listens on a free port, the command runs with ENSIGN_ENDPOINT, ENSIGN_AUTH_URL,
/// ENSIGN_CLIENT_ID, ENSIGN_CLIENT_SECRET and ENSIGN_INSECURE set, and its exit code is returned. Profiles are left as
/// they are.
///
/// The secret of the key is in the data directory, in `client.json`, for its owner alone; the profile refers to that
/// file. The key that events are encrypted with lies there, too: whoever can read the whole directory can read the
/// events.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign dev-server
  $ ensign dev-server --ephemeral -- pytest
  $ ensign dev-server --name second --addr 127.0.0.1:5357")]
pub(super) struct Args {
    /// Where to keep events; the default is a directory of the server's name in the user's data directory
    #[arg(long, env = "ENSIGN_DATA_DIR", hide_env = true, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,

    /// Keep everything in memory, and nothing when it stops
    #[arg(long, env = "ENSIGN_EPHEMERAL", hide_env = true, value_parser = FalseyValueParser::new())]
    ephemeral: bool,

    /// What an acknowledged event survives: a loss of power, or only the end of the process
    #[arg(
        long,
        env = "ENSIGN_DURABILITY",
        hide_env = true,
        value_name = "MODE",
        default_value = "fsync",
        conflicts_with = "ephemeral"
    )]
    durability: Promise,

    /// The address to listen on; port 0 is any free one
    #[arg(long, env = "ENSIGN_ADDR", hide_env = true, value_name = "HOST:PORT")]
    addr: Option<String>,

    /// The name of the server: that of its profile, and of its data directory
    #[arg(long, env = "ENSIGN_NAME", hide_env = true, value_name = "NAME", default_value = NAME)]
    name: String,

    /// Write a file as soon as the server is ready, with everything that a program needs to use it
    #[arg(long, env = "ENSIGN_READY_FILE", hide_env = true, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Leave the profiles alone
    #[arg(long, env = "ENSIGN_NO_PROFILE", hide_env = true, value_parser = FalseyValueParser::new())]
    no_profile: bool,

    /// Run this command with the server, and stop when it ends
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How long a server with a data directory waits before it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Promise {
    /// Until the disk has the event: it survives a loss of power
    Fsync,
    /// Until the operating system has it: it survives the end of the process
    Os,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<ExitCode> {
        if context.environment.get(PURGE_DELAY).is_none() {
            // A server that can't begin anew keeps its memory for longer.
            let error = sys::begin_anew_with(PURGE_DELAY, PURGE_DELAY_MS);
            tracing::debug!(%error, "the allocator keeps its usual settings");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let runtime = runtime.map_err(|error| CliError::failed(format!("can't start: {error}")))?;
        runtime.block_on(self.serve(context))
    }

    async fn serve(self, context: &mut Context) -> Result<ExitCode> {
        let mut interrupts = Interrupts::listen()?;
        let data_dir = self.find_data_dir()?;
        if let Some(path) = &self.ready_file {
            // One that was left behind by a crash must not be taken for this server's.
            files::remove_file(path).map_err(|error| CliError::chain(&error))?;
        }
        let server = self.start(context, data_dir.as_deref()).await?;
        // From here on the server has to be stopped in order, whatever happens.
        let served = self.serve_started(context, &server, data_dir.as_deref(), &mut interrupts).await;
        if let Some(path) = &self.ready_file {
            files::remove_file(path).map_err(|error| CliError::chain(&error))?;
        }
        server.stop().await.map_err(|error| CliError::chain(&error))?;
        served
    }

    async fn serve_started(
        &self,
        context: &mut Context,
        server: &Server,
        data_dir: Option<&Path>,
        interrupts: &mut Interrupts,
    ) -> Result<ExitCode> {
        let access = Access::prepare(server, data_dir).await?;
        let keeper = if self.no_profile || !self.command.is_empty() {
            None
        } else {
            Some(Keeper::remember(&context.credentials()?, &self.name, &access, data_dir)?)
        };
        if let Some(path) = &self.ready_file {
            let profile = keeper.as_ref().map(|_| self.name.as_str());
            access.write_ready_file(path, (data_dir, self.durability()), profile)?;
        }
        let ended = if self.command.is_empty() {
            if !context.output.is_quiet() {
                let holds = banner::Holds::of(server, &access).await;
                let profile = keeper.as_ref().map(|_| self.name.as_str());
                error_text(&banner::text(
                    &access,
                    (data_dir, self.durability()),
                    profile,
                    &holds,
                    context.clock.elapsed(),
                ));
            }
            interrupts.next().await;
            Ok(ExitCode::SUCCESS)
        } else {
            child::run(&self.command, &access, interrupts).await
        };
        if let Some(keeper) = keeper {
            keeper.finish(&context.credentials()?)?;
        }
        ended
    }

    fn durability(&self) -> Durability {
        match self.durability {
            _ if self.ephemeral => Durability::Memory,
            Promise::Fsync => Durability::Fsync,
            Promise::Os => Durability::Os,
        }
    }

    /// Where the data is; nowhere for a server that keeps nothing.
    fn find_data_dir(&self) -> Result<Option<PathBuf>> {
        if self.ephemeral {
            return Ok(None);
        }
        if let Some(dir) = &self.data_dir {
            // The profile refers to a file in it, from whatever directory.
            let absolute = std::path::absolute(dir);
            return absolute.map(Some).map_err(|error| CliError::failed(format!("--data-dir: {error}")));
        }
        let places = directories::ProjectDirs::from("", "", "ensign");
        let places = places.ok_or_else(|| {
            CliError::usage("this machine's user has no home directory to keep events in")
                .hint("say where with --data-dir, or keep nothing with --ephemeral")
        })?;
        Ok(Some(places.data_local_dir().join(&self.name)))
    }

    async fn start(&self, context: &Context, data_dir: Option<&Path>) -> Result<Server> {
        let storage = data_dir.map_or(Storage::Memory, |dir| Storage::Directory(dir.to_owned(), self.durability()));
        let options =
            |addr| ServerOptions { addr, storage: storage.clone(), issuer: None, server_id: self.name.clone() };
        let start = |addr| Server::start(options(addr), context.clock.clone(), Entropy::real());
        let addr = self.address()?;
        let started = start(addr).await;
        let taken = matches!(&started, Err(StartError::Listen { source, .. }) if is_taken(source));
        if taken && self.addr.is_none() && self.name != NAME {
            // A second server beside the first one: any port will do, and its profile knows which.
            return start(SocketAddr::new(addr.ip(), 0)).await.map_err(|error| explain(&error, data_dir));
        }
        started.map_err(|error| explain(&error, data_dir))
    }

    fn address(&self) -> Result<SocketAddr> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(text) = &self.addr else {
            let port = if self.command.is_empty() { PORT } else { 0 };
            return Ok(SocketAddr::new(local, port));
        };
        let numeric = match text.strip_prefix("localhost") {
            Some("") => format!("{local}:{PORT}"),
            Some(port) => format!("{local}{port}"),
            None => text.clone(),
        };
        numeric.parse().map_err(|_| {
            CliError::usage(format!("{text:?} is not an address to listen on"))
                .hint("write one like 127.0.0.1:5356, or 127.0.0.1:0 for any free port")
        })
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Why a server could not be started, with the way out.
fn explain(error: &StartError, data_dir: Option<&Path>) -> CliError {
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
        other => CliError::chain(other),
    }
}

/// The signals that end a server.
#[derive(Debug)]
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

/// Which signal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupt {
    /// Ctrl-C, which the terminal sends to all processes of the command.
    Keyboard,
    Terminate,
}

impl Interrupts {
    fn listen() -> Result<Interrupts> {
        let failed = |error: io::Error| CliError::failed(format!("can't listen to signals: {error}"));
        Ok(Interrupts {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::Keyboard,
            _ = self.terminate.recv() => Interrupt::Terminate,
        }
    }
}
