//! From the arguments of the process to its exit code.

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, error::ErrorKind, parser::ValueSource};
use clap_complete::CompleteEnv;

use super::{
    Context,
    args::{Cli, Command},
    context::{Globals, Said},
    error::{CliError, Result},
    output::{Color, Output, error_text, print_help},
    serve::{self, Settings},
};
use crate::{
    config::Environment,
    sys::Clock,
    telemetry::{self, LogFormat},
};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).bin("ensign").complete();
    let environment = Environment::current();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let json = wants_json(&arguments, &environment);
    match run(&arguments, environment) {
        Ok(code) => code,
        Err(error) => {
            error_text(&error.render(json, colors_errors()));
            error.exit_code()
        }
    }
}

fn run(arguments: &[OsString], environment: Environment) -> Result<ExitCode> {
    let (mut grammar, file) = serve::with_file(Cli::command(), arguments, &environment)?;
    let mut matches = match grammar.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let typed = Typed::of(&matches);
    let settings = Settings::of(&grammar, &matches, &file);
    let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| usage_error(&error))?;
    typed.check(&cli.command)?;
    if let Command::Serve(args) = &mut cli.command {
        args.settings = settings;
    }
    start_logging(&cli)?;

    let globals = cli.globals;
    let color = match globals.color {
        Color::Auto if forbids_color(&environment) => Color::Never,
        color => color,
    };
    let uses = cli.command.uses();
    let format = globals.output.filter(|_| uses.output);
    let jq = globals.jq.filter(|_| uses.output);
    let output = Output::new(format, jq.as_deref(), color, globals.quiet)?;
    let globals = Globals {
        profile: Said::new(globals.profile, typed.has("profile")),
        endpoint: Said::new(globals.endpoint, typed.has("endpoint")),
        project: Said::new(globals.project, typed.has("project")),
        ca_file: Said::new(globals.ca_file, typed.has("ca_file")),
        client_cert: Said::new(globals.client_cert, typed.has("client_cert")),
        client_key: Said::new(globals.client_key, typed.has("client_key")),
        no_input: globals.no_input,
    };
    let mut context = Context { environment, globals, output, clock: Clock::real() };
    let code = execute(cli.command, &mut context)?;
    context.output.flush()?;
    Ok(code)
}

fn execute(command: Command, context: &mut Context) -> Result<ExitCode> {
    match command {
        Command::DevServer(args) => return args.run(context),
        Command::Serve(args) => return args.run(context),
        Command::Login(args) => args.run(context),
        Command::Logout(args) => args.run(context),
        Command::Whoami(args) => args.run(context),
        Command::Profile(args) => args.run(context),
        Command::Register(args) => args.run(context),
        Command::Password(args) => args.run(context),
        Command::Org(args) => args.run(context),
        Command::Member(args) => args.run(context),
        Command::Invite(args) => args.run(context),
        Command::Mail(args) => args.run(context),
        Command::Tenant(args) => args.run(context),
        Command::Project(args) => args.run(context),
        Command::Key(args) => args.run(context),
        Command::Status(args) => args.run(context),
        Command::Info(args) => args.run(context),
        Command::Env(args) => args.run(context),
        Command::Topic(args) => args.run(context),
        Command::Publish(args) => args.run(context),
        Command::Tail(args) => args.run(context),
        Command::Query(args) => args.run(context),
        Command::Expect(args) => args.run(context),
        Command::Replay(args) => args.run(context),
        Command::Group(args) => args.run(context),
        Command::Export(args) => args.run(context),
        Command::Import(args) => args.run(context),
        Command::Encryption(args) => args.run(context),
        Command::Verify(args) => args.run(context),
        Command::Compact(args) => args.run(context),
        Command::Bench(args) => args.run(context),
        Command::Completions(args) => args.run(context),
        Command::Man(args) => args.run(context),
        Command::ExitCodes(args) => args.run(context),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The global flags that not every command knows what to do with.
const GLOBALS: [&str; 8] = ["profile", "endpoint", "ca_file", "client_cert", "client_key", "project", "output", "jq"];

/// The global flags that were typed, as opposed to set by their variables.
struct Typed(Vec<&'static str>);

impl Typed {
    fn of(matches: &ArgMatches) -> Typed {
        let typed = |id: &&'static str| {
            let mut level = Some(matches);
            while let Some(matches) = level {
                if matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine) {
                    return true;
                }
                level = matches.subcommand().map(|(_, below)| below);
            }
            false
        };
        Typed(GLOBALS.into_iter().filter(typed).collect())
    }

    fn has(&self, id: &str) -> bool {
        self.0.contains(&id)
    }

    /// Refuses flags that mean nothing to the command.
    fn check(&self, command: &Command) -> Result<()> {
        let uses = command.uses();
        let means_something = |id: &str| match id {
            "profile" => uses.profile,
            "endpoint" | "project" | "ca_file" | "client_cert" | "client_key" => uses.server,
            _ => uses.output,
        };
        match self.0.iter().find(|id| !means_something(id)) {
            Some(id) => {
                let flag = id.replace('_', "-");
                Err(CliError::usage(format!("--{flag} means nothing to this command"))
                    .hint(format!("leave --{flag} away")))
            }
            None => Ok(()),
        }
    }
}

/// Help and version are output; everything else that clap stops for is a mistake.
fn explain(error: &clap::Error) -> Result<ExitCode> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print_help(&error.render())?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error_text(&error.render().to_string());
            Err(CliError::usage(""))
        }
        _ => Err(usage_error(error)),
    }
}

/// What clap says in paragraphs, in a line and a hint.
fn usage_error(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let mut message = String::new();
    let mut hint = None;
    for paragraph in text.split("\n\n") {
        let line = paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if let Some(first) = line.strip_prefix("error: ") {
            first.clone_into(&mut message);
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            hint.get_or_insert_with(|| tip.to_owned());
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            let words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
            let command = words.collect::<Vec<_>>().join(" ");
            hint.get_or_insert_with(|| format!("`{command} --help` explains the command"));
        }
    }
    let error = CliError::usage(message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error.hint("`ensign --help` explains the commands"),
    }
}

/// Whether errors are to be JSON. This is asked before the command line is known to be right.
fn wants_json(arguments: &[OsString], environment: &Environment) -> bool {
    let is_json = |text: &str| matches!(text, "json" | "jsonl");
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let before_command = texts.iter().take_while(|text| **text != "--");
    let mut said = None;
    let mut previous = "";
    for text in before_command {
        if matches!(previous, "-o" | "--output") {
            said = Some(is_json(text));
        } else if let Some(format) = text.strip_prefix("--output=").or_else(|| text.strip_prefix("-o")) {
            said = Some(is_json(format.trim_start_matches('=')));
        }
        previous = text;
    }
    said.unwrap_or_else(|| environment.get("ENSIGN_OUTPUT").is_some_and(is_json))
}

fn colors_errors() -> bool {
    // What --color says is not known when the command line is wrong; the terminal and its variables always are.
    std::io::stderr().is_terminal() && !forbids_color(&Environment::current())
}

/// Whether the user wants no color, or has a terminal that knows no escape sequences.
fn forbids_color(environment: &Environment) -> bool {
    environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb")
}

fn start_logging(cli: &Cli) -> Result<()> {
    let directives = match cli.globals.verbose {
        0 => match &cli.command {
            // The commands say themselves what their user has to know.
            Command::DevServer(_) | Command::Compact(_) => "warn",
            Command::Serve(args) => args.log_level(),
            _ => return Ok(()),
        },
        1 => "warn,ensign=info",
        2 => "info,ensign=debug",
        _ => "debug,ensign=trace",
    };
    let format = match &cli.command {
        Command::Serve(args) => args.log_format(),
        _ => LogFormat::Text,
    };
    telemetry::init(directives, format, colors_errors()).map_err(|error| CliError::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_are_json_when_output_is() {
        let check = |line: &str, variable: &str, expected| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let environment = [("ENSIGN_OUTPUT".to_owned(), variable.to_owned())].into_iter().collect();
            assert_eq!(wants_json(&arguments, &environment), expected, "{line}");
        };
        check("ensign -o json topic list", "", true);
        check("ensign topic list --output=json", "", true);
        check("ensign topic list -ojsonl", "", true);
        check("ensign topic list -o table", "json", false);
        check("ensign topic list", "json", true);
        check("ensign dev-server -- x -o json", "", false);
    }

    /// Every command has a first line that is short and imperative, and two worked examples.
    #[test]
    fn every_command_explains_itself() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && about.len() <= 70 && !about.ends_with('.'), "{name}: {about:?}");
            if !command.has_subcommands() && !command.is_hide_set() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = help.lines().filter(|line| line.starts_with("  $ ") && line.contains("ensign "));
                assert!(examples.count() >= 2, "{name} has fewer than two examples");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
