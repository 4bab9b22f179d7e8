//! The grammar of the command line.

use clap::{ArgAction, Args, Parser, Subcommand, builder::FalseyValueParser};
use clap_complete::ArgValueCandidates;

use super::{
    archive, bench, compact, complete, completions, dev_server, encryption, env, exit_codes, expect, group, info,
    invite, key, login, logout, mail, man, member, org,
    output::{Color, Format},
    password, profile, project, publish, query, register, replay, serve, status, tail, tenant, topic, verify, whoami,
};

/// Event streams for developers
///
/// A command line for Ensign event streams, and the broker itself, for this machine and your own.
#[derive(Debug, Parser)]
#[command(
    name = "ensign",
    version,
    max_term_width = 100,
    infer_long_args = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  $ ensign dev-server
  $ ensign publish hello -m 'world'
  $ ensign tail hello --from start

Every global flag also reads a variable: ENSIGN_PROFILE, ENSIGN_OUTPUT and so on.
`ensign help exit-codes` lists the exit codes."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) globals: GlobalArgs,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Use this profile instead of the selected one
    #[arg(long, global = true, env = "ENSIGN_PROFILE", hide_env = true, value_name = "NAME",
        add = ArgValueCandidates::new(complete::profiles))]
    pub(super) profile: Option<String>,

    /// Talk to the server at this address
    #[arg(long, global = true, env = "ENSIGN_ENDPOINT", hide_env = true, value_name = "HOST:PORT")]
    pub(super) endpoint: Option<String>,

    /// Trust the authority in this PEM file, too
    #[arg(long, global = true, env = "ENSIGN_CA_FILE", hide_env = true, value_name = "FILE")]
    pub(super) ca_file: Option<String>,

    /// Show the certificate in this PEM file to the server
    #[arg(long, global = true, env = "ENSIGN_CLIENT_CERT", hide_env = true, value_name = "FILE")]
    pub(super) client_cert: Option<String>,

    /// The PEM file with the key of --client-cert
    #[arg(long, global = true, env = "ENSIGN_CLIENT_KEY", hide_env = true, value_name = "FILE")]
    pub(super) client_key: Option<String>,

    /// Act on this project: a key has to be of it, an account can name it
    #[arg(long, global = true, env = "ENSIGN_PROJECT", hide_env = true, value_name = "PROJECT",
        add = ArgValueCandidates::new(complete::projects))]
    pub(super) project: Option<String>,

    /// Print table, json, jsonl, yaml or csv; events also raw or template=TEXT
    #[arg(short, long, global = true, env = "ENSIGN_OUTPUT", hide_env = true, value_name = "FORMAT")]
    pub(super) output: Option<Format>,

    /// Filter JSON output with a jq expression
    #[arg(long, global = true, env = "ENSIGN_JQ", hide_env = true, value_name = "EXPR")]
    pub(super) jq: Option<String>,

    /// When to use color
    #[arg(long, global = true, env = "ENSIGN_COLOR", hide_env = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,

    /// Log what happens to standard error; twice for more, three times for all
    #[arg(short, long, global = true, env = "ENSIGN_VERBOSE", hide_env = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Print errors only, and no notes or progress
    #[arg(short, long, global = true, env = "ENSIGN_QUIET", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(super) quiet: bool,

    /// Never ask; fail and name the flag instead
    #[arg(long, global = true, env = "ENSIGN_NO_INPUT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(super) no_input: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    DevServer(dev_server::Args),
    Serve(serve::Args),
    Login(login::Args),
    Logout(logout::Args),
    Whoami(whoami::Args),
    Profile(profile::Args),
    Register(register::Args),
    Password(password::Args),
    Org(org::Args),
    Member(member::Args),
    Invite(invite::Args),
    Mail(mail::Args),
    Tenant(tenant::Args),
    Project(project::Args),
    Key(key::Args),
    Status(status::Args),
    Info(info::Args),
    Env(env::Args),
    Topic(topic::Args),
    Publish(publish::Args),
    Tail(tail::Args),
    Query(query::Args),
    Expect(expect::Args),
    Replay(replay::Args),
    Group(group::Args),
    Export(archive::ExportArgs),
    Import(archive::ImportArgs),
    Encryption(encryption::Args),
    Verify(verify::Args),
    Compact(compact::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    ExitCodes(exit_codes::Args),
}

/// Which of the global flags mean something to a command. The others are refused, not ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uses {
    /// `--profile`.
    pub(super) profile: bool,
    /// `--endpoint`, `--project` and what TLS needs.
    pub(super) server: bool,
    /// `-o` and `--jq`.
    pub(super) output: bool,
}

impl Command {
    pub(super) fn uses(&self) -> Uses {
        let (profile, server, output) = match self {
            Command::Encryption(args) => return args.uses(),
            Command::Tail(args) => (true, true, args.writes()),
            Command::Logout(_) => (true, false, false),
            Command::Password(_) => (true, true, false),
            Command::Login(_)
            | Command::Register(_)
            | Command::Org(_)
            | Command::Member(_)
            | Command::Invite(_)
            | Command::Mail(_)
            | Command::Tenant(_)
            | Command::Project(_)
            | Command::Key(_)
            | Command::Whoami(_)
            | Command::Status(_)
            | Command::Info(_)
            | Command::Env(_)
            | Command::Topic(_)
            | Command::Publish(_)
            | Command::Query(_)
            | Command::Expect(_)
            | Command::Replay(_)
            | Command::Group(_)
            | Command::Export(_)
            | Command::Import(_)
            | Command::Bench(_) => (true, true, true),
            Command::Serve(_) | Command::Profile(_) | Command::Verify(_) | Command::Compact(_) => (false, false, true),
            Command::DevServer(_) | Command::Completions(_) | Command::Man(_) | Command::ExitCodes(_) => {
                (false, false, false)
            }
        };
        Uses { profile, server, output }
    }
}
