//! `ensign dev-server`: a broker on this machine.

mod banner;
mod child;
mod chosen;
mod keeper;
mod tls;

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::builder::FalseyValueParser;

use super::{
    Context,
    error::{CliError, Result},
    node::{
        self, Access, AccountArgs, Interrupts, KEY_FILE, KeyFile, ListenArgs, Owner, PASSWORD_FILE, PORT, Problems,
        ReadyFile, ReadyTls, RestArgs, RootKeyArgs, StorageArgs, Unless,
    },
    output::error_text,
};
use crate::{
    identity::Registration,
    model::Durability,
    server::{RootKeyOptions, RootKeySource, Server, ServerOptions, StartError, Storage},
    sys::Entropy,
};
use chosen::Chosen;
use keeper::Keeper;
use tls::{LocalTls, LocalTlsArgs};

/// The name of a server that nobody named.
const NAME: &str = "dev";

/// Two are enough for one developer, and leave the machine's other cores to what is being developed.
const WORKERS: usize = 2;

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
/// With --tls the same port takes TLS as well. The authority that vouches for the server is made for this machine, speaks
/// for its names alone, and is kept in the data directory, in `tls`; the profile and `ensign env` know it.
///
/// With a command behind --, the server listens on a free port, the command runs with ENSIGN_ENDPOINT, ENSIGN_AUTH_URL,
/// ENSIGN_CLIENT_ID, ENSIGN_CLIENT_SECRET and ENSIGN_INSECURE set, and its exit code is returned. Profiles are left as
/// they are.
///
/// The secret of the key is in the data directory, in `client.json`, for its owner alone; the profile refers to that
/// file. The root key lies there, too, unless another place for it is named: whoever can read the whole directory can read the
/// events.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign dev-server
  $ ensign dev-server --ephemeral -- pytest
  $ ensign dev-server --tls --tls-name broker.example
  $ ensign dev-server --name second --addr 127.0.0.1:5357")]
pub(super) struct Args {
    #[command(flatten)]
    storage: StorageArgs,

    /// Keep everything in memory, and nothing when it stops
    #[arg(long, env = "ENSIGN_EPHEMERAL", hide_env = true, value_parser = FalseyValueParser::new(),
        conflicts_with_all = ["data_dir", "durability"])]
    ephemeral: bool,

    #[command(flatten)]
    listen: ListenArgs,

    /// The name of the server: that of its profile, and of its data directory
    #[arg(long, env = "ENSIGN_NAME", hide_env = true, value_name = "NAME", default_value = NAME)]
    name: String,

    /// Leave the profiles alone
    #[arg(long, env = "ENSIGN_NO_PROFILE", hide_env = true, value_parser = FalseyValueParser::new())]
    no_profile: bool,

    #[command(flatten)]
    rest: RestArgs,

    #[command(flatten)]
    accounts: AccountArgs,

    #[command(flatten)]
    tls: LocalTlsArgs,

    #[command(flatten)]
    root_key: RootKeyArgs,

    /// Run this command with the server, and stop when it ends
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<ExitCode> {
        node::keep_little_memory(context);
        node::runtime(Some(WORKERS))?.block_on(self.serve(context))
    }

    async fn serve(self, context: &mut Context) -> Result<ExitCode> {
        let mut interrupts = Interrupts::listen()?;
        let data_dir = self.find_data_dir()?;
        ReadyFile::remove(self.listen.ready_file())?;
        let tls = self.tls.prepare(context, data_dir.as_deref())?;
        let temporary = tls.as_ref().and_then(LocalTls::temporary);
        let started = self.start(context, data_dir.as_deref(), tls.as_ref()).await;
        if started.is_err() {
            tls::clean_up(temporary.as_deref())?;
        }
        let server = started?;
        // From here on the server has to be stopped in order, whatever happens.
        let trusted = tls.as_ref().map(|tls| (tls.ca_file.clone(), tls.is_new));
        let renewal = tls.map(|tls| tls.renew(&server, context.clock.clone()));
        let served = self.serve_started(context, &server, (data_dir.as_deref(), trusted), &mut interrupts).await;
        if let Some(renewal) = renewal {
            renewal.abort();
        }
        tls::clean_up(temporary.as_deref())?;
        ReadyFile::remove(self.listen.ready_file())?;
        server.stop().await.map_err(|error| CliError::chain(&error))?;
        served
    }

    async fn serve_started(
        &self,
        context: &mut Context,
        server: &Server,
        (data_dir, trusted): (Option<&Path>, Option<(PathBuf, bool)>),
        interrupts: &mut Interrupts,
    ) -> Result<ExitCode> {
        let key_file = data_dir.map(|dir| dir.join(KEY_FILE));
        let mut access = Access::prepare(server, key_file.as_deref().map_or(KeyFile::Nowhere, KeyFile::Own)).await?;
        let is_new = trusted.as_ref().is_some_and(|(_, is_new)| *is_new);
        access.ca_file = trusted.map(|(ca_file, _)| ca_file);
        let password_file = data_dir.map(|dir| dir.join(PASSWORD_FILE));
        let owner = Owner::prepare(server, access.organization, password_file.as_deref()).await?;
        let keeper = if self.no_profile || !self.command.is_empty() {
            None
        } else {
            let credentials = context.credentials()?;
            let chosen = Chosen::find(&credentials, &self.name, server, &access.auth_url()).await?;
            Some(Keeper::remember(&credentials, &self.name, (&access, owner.as_ref()), data_dir, chosen)?)
        };
        if let Some(path) = self.listen.ready_file() {
            let ready = ReadyFile {
                endpoint: &access.endpoint,
                auth_url: &access.auth_url(),
                tls: access.ca_file.as_deref().map(|path| ReadyTls { ca_file: Some(path) }),
                durability: self.durability(),
                data_dir,
                profile: keeper.as_ref().map(|_| self.name.as_str()),
                access: Some(&access),
                owner: owner.as_ref(),
            };
            ready.write(path)?;
        }
        let ended = if self.command.is_empty() {
            if !context.output.is_quiet() {
                let holds = banner::Holds::of(server, &access).await;
                let profile = keeper.as_ref().map(|_| self.name.as_str());
                let root_key = server.root_key_source().await.map_err(|error| CliError::chain(&error))?;
                error_text(&banner::text(
                    (&access, is_new),
                    (data_dir, self.durability(), root_key),
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
        if self.ephemeral { Durability::Memory } else { self.storage.durability() }
    }

    /// Where the data is; nowhere for a server that keeps nothing.
    fn find_data_dir(&self) -> Result<Option<PathBuf>> {
        if self.ephemeral {
            return Ok(None);
        }
        if let Some(dir) = self.storage.named_dir()? {
            return Ok(Some(dir));
        }
        let places = directories::ProjectDirs::from("", "", "ensign");
        let places = places.ok_or_else(|| {
            CliError::usage("this machine's user has no home directory to keep events in")
                .hint("say where with --data-dir, or keep nothing with --ephemeral")
        })?;
        Ok(Some(places.data_local_dir().join(&self.name)))
    }

    async fn start(&self, context: &Context, data_dir: Option<&Path>, tls: Option<&LocalTls>) -> Result<Server> {
        let tls = tls.map(|tls| tls.options(&context.clock)).transpose()?;
        let storage = data_dir.map_or(Storage::Memory, |dir| Storage::Directory(dir.to_owned(), self.durability()));
        let public_url = self.listen.public_url()?;
        let mut problems = Problems::default();
        let accounts = self.accounts.settle(&context.environment, Registration::Open, &mut problems);
        problems.into_result()?;
        // What is in memory only is under a key that nobody ever sees.
        let root_key = match data_dir {
            Some(_) => self.root_key.options(context, Some(RootKeySource::Directory), true)?,
            None => RootKeyOptions::in_directory(),
        };
        let options = |addr: SocketAddr| ServerOptions {
            public_url: public_url.clone(),
            server_id: self.name.clone(),
            root_key: root_key.clone(),
            rest: self.rest.options(unless_said(addr)),
            token_key_age: self.rest.token_key_age(),
            registration: accounts.registration,
            mail: accounts.mail.clone(),
            tls: tls.clone(),
            ..ServerOptions::new(addr, storage.clone())
        };
        let start = |addr| Server::start(options(addr), context.clock.clone(), Entropy::real());
        let port = if self.command.is_empty() { PORT } else { 0 };
        let addr = self.listen.address()?.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let started = start(addr).await;
        let taken = matches!(&started, Err(StartError::Listen { source, .. }) if node::is_taken(source));
        if taken && self.listen.addr.is_none() && self.name != NAME {
            // A second server beside the first one: any port will do, and its profile knows which.
            return start(SocketAddr::new(addr.ip(), 0)).await.map_err(|error| node::explain(&error, data_dir));
        }
        started.map_err(|error| node::explain(&error, data_dir))
    }
}

/// Everybody on this machine has the same address, and a suite of tests signs in more often at once than a client that has one
/// of its own. From elsewhere, others can reach the server too.
fn unless_said(addr: SocketAddr) -> Unless {
    if addr.ip().is_loopback() { Unless::Unlimited } else { Unless::Limited }
}
