//! `ensign serve`: the broker, configured for a real deployment.

mod check;
mod settings;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::builder::FalseyValueParser;

use super::{
    Context, data_dir,
    error::{CliError, Result},
    node::{
        self, Access, AccountArgs, AccountSettings, Interrupts, KeyFile, ListenArgs, PORT, Problems, ReadyFile,
        ReadyTls, Reloader, RestArgs, RootKeyArgs, StorageArgs, TlsArgs, Unless, host_and_port,
    },
};
use crate::{
    identity::Registration,
    server::{RateLimit, RootKeyOptions, RootKeySource, Server, ServerOptions, Storage, TlsFiles, TlsOptions},
    sys::{Entropy, files},
    telemetry::LogFormat,
};

pub(super) use settings::{Settings, with_file};

/// Run a broker for others to use
///
/// The same broker as `dev-server`, which assumes nothing: it makes no profile, no organization and no key unless it is
/// asked to, and says in its log what it does.
///
/// A setting comes from its flag, or else from its variable (ENSIGN_ and its name), or else from the configuration file,
/// or else it has its default. The file is YAML, and its names are those of the flags: `addr: 0.0.0.0:5356`. Names that
/// begin with the same word may stand together: `log: {format: json}` is `log-format: json`. `--check` shows what is in
/// force and where it comes from, and starts nothing; what is wrong is named all at once.
///
/// It speaks TLS, and refuses plaintext, unless --tls-only=false says otherwise. SIGHUP has certificate and key read again.
///
/// SIGTERM and SIGINT end it in order: streams are told, and what was accepted is committed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign serve --config /etc/ensign/serve.yaml --check
  $ ensign serve --config /etc/ensign/serve.yaml
  $ ensign serve --data-dir /var/lib/ensign --tls-cert cert.pem --tls-key key.pem --bootstrap-key-file owner.json")]
pub(super) struct Args {
    /// Read settings from this YAML file
    #[arg(long, env = "ENSIGN_CONFIG", hide_env = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Show the settings and where they come from, without secrets, and start nothing
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    storage: StorageArgs,

    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    rest: RestArgs,

    #[command(flatten)]
    accounts: AccountArgs,

    #[command(flatten)]
    root_key: RootKeyArgs,

    /// Take the root key from the data directory, beside what it protects
    #[arg(long, env = "ENSIGN_INSECURE_ROOT_KEY_FILE", hide_env = true, value_parser = FalseyValueParser::new())]
    insecure_root_key_file: bool,

    /// The name that streams are told
    #[arg(long, env = "ENSIGN_NAME", hide_env = true, value_name = "NAME", default_value = "ensign")]
    name: String,

    /// Write a key with all permissions into this file, of a project and an organization that are made with it
    ///
    /// Nothing is made when the file has a key of this server. Leave the option away once the key has been taken.
    #[arg(long, env = "ENSIGN_BOOTSTRAP_KEY_FILE", hide_env = true, value_name = "FILE")]
    bootstrap_key_file: Option<PathBuf>,

    /// How many threads serve; the default is one for each core
    #[arg(long, env = "ENSIGN_WORKERS", hide_env = true, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// What to log: off, error, warn, info, debug, trace, or directives like warn,ensign=debug
    #[arg(long, env = "ENSIGN_LOG_LEVEL", hide_env = true, value_name = "FILTER", default_value = "warn,ensign=info")]
    log_level: String,

    /// How log lines look
    #[arg(long, env = "ENSIGN_LOG_FORMAT", hide_env = true, value_name = "FORMAT", default_value = "text")]
    log_format: Format,

    /// The values with their sources, as they were settled before the arguments were read.
    #[arg(skip)]
    pub(super) settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// An object a line, for machines
    Json,
}

impl Args {
    pub(super) fn log_level(&self) -> &str {
        &self.log_level
    }

    pub(super) fn log_format(&self) -> LogFormat {
        match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        }
    }

    pub(super) fn run(self, context: &mut Context) -> Result<ExitCode> {
        let plan = self.plan(context)?;
        if self.check {
            self.check_root_key(context, &plan.data_dir)?;
            check::show(&mut context.output, &self.settings, &plan.defaults())?;
            return Ok(ExitCode::SUCCESS);
        }
        node::keep_little_memory(context);
        node::runtime(self.workers.map(usize::from))?.block_on(self.serve(context, plan))
    }

    /// What the settings come to; every problem with them is in the error.
    fn plan(&self, context: &Context) -> Result<Plan> {
        let mut problems = Problems::default();
        self.listen.check(&mut problems);
        let data_dir = problems.note("--data-dir", self.storage.named_dir()).flatten();
        if data_dir.is_none() {
            problems.add("--data-dir: where to keep events has to be said");
        }
        let tls = self.tls.settle(context.clock.now(), &mut problems);
        let accounts = self.accounts.settle(&context.environment, Registration::First, &mut problems);
        problems.into_result()?;
        let addr = self.listen.address()?.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
        let data_dir = data_dir.expect("that there is none is a problem");
        Ok(Plan { addr, data_dir, public_url: self.listen.public_url()?, tls, accounts })
    }

    async fn serve(self, context: &Context, plan: Plan) -> Result<ExitCode> {
        let mut interrupts = Interrupts::listen()?;
        let files = plan.tls.as_ref().map(|(files, _)| files.clone());
        let mut reloader = Reloader::listen(files, context.clock.clone())?;
        ReadyFile::remove(self.listen.ready_file())?;
        let storage = Storage::Directory(plan.data_dir.clone(), self.storage.durability());
        let options = ServerOptions {
            root_key: self.root_key(context)?,
            public_url: plan.public_url.clone(),
            server_id: self.name.clone(),
            rest: self.rest.options(Unless::Limited),
            token_key_age: self.rest.token_key_age(),
            registration: plan.accounts.registration,
            mail: plan.accounts.mail.clone(),
            tls: plan.tls.as_ref().map(|(_, options)| options.clone()),
            ..ServerOptions::new(plan.addr, storage)
        };
        let started = Server::start(options, context.clock.clone(), Entropy::real()).await;
        let server = started.map_err(|error| node::explain(&error, Some(&plan.data_dir)))?;
        // From here on the server has to be stopped in order, whatever happens.
        let served = tokio::select! {
            served = self.serve_started(&server, &plan, &mut interrupts) => served,
            () = reloader.run(server.certificates()) => Err(CliError::failed("signals come no more")),
        };
        ReadyFile::remove(self.listen.ready_file())?;
        server.stop().await.map_err(|error| CliError::chain(&error))?;
        tracing::info!("stopped");
        served
    }

    /// The directory is no place for the root key, unless somebody says that it is.
    fn root_key(&self, context: &Context) -> Result<RootKeyOptions> {
        let default = self.insecure_root_key_file.then_some(RootKeySource::Directory);
        self.root_key.options(context, default, self.insecure_root_key_file)
    }

    /// Whether a start would know where the root key comes from. A directory that was used before remembers it in its
    /// records, which a server may have open: there it is the start that says so.
    fn check_root_key(&self, context: &Context, data_dir: &Path) -> Result<()> {
        let options = self.root_key(context)?;
        if data_dir::open(data_dir).is_ok() {
            return Ok(());
        }
        options.decide(None).map(drop).map_err(|error| node::explain_root_key(&error))
    }

    async fn serve_started(&self, server: &Server, plan: &Plan, interrupts: &mut Interrupts) -> Result<ExitCode> {
        let access = match &self.bootstrap_key_file {
            Some(path) => Some(bootstrap(server, path).await?),
            None => None,
        };
        let endpoint = host_and_port(server.addr());
        if let Some(path) = self.listen.ready_file() {
            let ready = ReadyFile {
                endpoint: &endpoint,
                auth_url: &format!("{}://{endpoint}", plan.scheme()),
                tls: plan.tls.as_ref().map(|_| ReadyTls { ca_file: None }),
                durability: self.storage.durability(),
                data_dir: Some(&plan.data_dir),
                profile: None,
                access: access.as_ref(),
                owner: None,
            };
            ready.write(path)?;
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            addr = %server.addr(),
            data_dir = %plan.data_dir.display(),
            durability = self.storage.durability().name(),
            tls = plan.tls.is_some(),
            "ready"
        );
        match &plan.tls {
            None => {
                tracing::warn!("this server speaks plaintext: what clients send can be read and changed on its way");
            }
            Some((_, tls)) => tracing::info!(ends = %tls.identity.ends(), "certificate"),
        }
        let signal = interrupts.next().await;
        tracing::info!(?signal, "stopping");
        Ok(ExitCode::SUCCESS)
    }
}

/// What the settings come to.
#[derive(Debug)]
struct Plan {
    addr: SocketAddr,
    data_dir: PathBuf,
    public_url: Option<String>,
    tls: Option<(TlsFiles, TlsOptions)>,
    accounts: AccountSettings,
}

impl Plan {
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The values of settings whose defaults depend on others.
    fn defaults(&self) -> Vec<(&'static str, String)> {
        let public_url =
            self.public_url.clone().unwrap_or_else(|| format!("{}://localhost:{}", self.scheme(), self.addr.port()));
        let rate_limit = RateLimit::default().per_second.to_string();
        let registration = AccountArgs::name_of(self.accounts.registration).to_owned();
        vec![
            ("addr", self.addr.to_string()),
            ("public-url", public_url),
            ("rate-limit", rate_limit),
            ("registration", registration),
        ]
    }
}

/// A key for whoever sets the server up. A file that is about another server stays as it is.
async fn bootstrap(server: &Server, path: &Path) -> Result<Access> {
    let was_there = files::exists(path);
    let access = Access::prepare(server, KeyFile::Named(path)).await?;
    if !was_there {
        tracing::warn!(path = %path.display(), client_id = %access.key.client_id, "made a key with all permissions");
    }
    Ok(access)
}
