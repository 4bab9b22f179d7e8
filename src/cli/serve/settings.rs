//! Settings of `serve` from a configuration file, and where each came from.
//!
//! What the file says becomes the default of the option with that name, so that the command line's own precedence and the
//! options' own readers hold for the file as well. An option whose variable is not to be shown holds a secret: it is
//! refused in the file and never listed.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgMatches, Command,
    builder::{OsStr, Resettable},
    parser::ValueSource,
};

use crate::{
    cli::{
        error::{CliError, Result},
        node::Problems,
    },
    config::{Document, Environment, Source},
    sys::files::read_file,
};

const COMMAND: &str = "serve";

/// Options that choose the file or are no settings.
const NOT_SETTINGS: [&str; 3] = ["config", "check", "help"];

/// A configuration file is far shorter.
const BYTES_MAX: u64 = 1024 * 1024;

/// What is listed of a setting that holds a secret.
const HIDDEN: &str = "(hidden)";

/// All settings of `serve`, in the order of its options.
#[derive(Debug, Default)]
pub(in crate::cli) struct Settings(Vec<Settled>);

/// A setting's value and where it came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) source: Source,
}

/// What a configuration file said, and which one it was.
#[derive(Debug, Default)]
pub(in crate::cli) struct File {
    path: PathBuf,
    document: Document,
}

/// The command line's grammar with the values of the configuration file, if `serve` is called with one. Everything is named that
/// is wrong with the file, and with the variables of its settings.
pub(in crate::cli) fn with_file(
    root: Command,
    arguments: &[OsString],
    environment: &Environment,
) -> Result<(Command, File)> {
    // Reading the arguments twice is for those alone that can be about this command.
    if !arguments.iter().any(|argument| argument == COMMAND) {
        return Ok((root, File::default()));
    }
    // What is wrong with the command line itself is said when it is parsed with the file's values.
    let Ok(matches) = root.clone().ignore_errors(true).try_get_matches_from(arguments) else {
        return Ok((root, File::default()));
    };
    let Some((COMMAND, matches)) = matches.subcommand() else {
        return Ok((root, File::default()));
    };
    let mut problems = Problems::default();
    let Some(serve) = root.find_subcommand(COMMAND).cloned() else {
        return Ok((root, File::default()));
    };
    let file = match matches.get_one::<PathBuf>("config") {
        Some(path) => read(path, &mut problems)?,
        None => File::default(),
    };
    let mut defaults: BTreeMap<clap::Id, Vec<OsStr>> = BTreeMap::new();
    for (name, values) in file.document.settings() {
        match check_value(&serve, name, values) {
            Ok(id) => drop(defaults.insert(id, values.iter().map(|value| OsStr::from(value.clone())).collect())),
            Err(problem) => problems.add(format!("{}: {problem}", file.path.display())),
        }
    }
    for arg in serve.get_arguments().filter(|arg| is_setting(arg)) {
        let (Some(name), Some(variable)) = (arg.get_long(), arg.get_env().and_then(std::ffi::OsStr::to_str)) else {
            continue;
        };
        let typed = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        if let Some(value) = environment.get(variable).filter(|_| takes_values(arg) && !typed)
            && let Err(problem) = parse_alone(&serve, name, value)
        {
            problems.add(format!("{variable}: {problem}"));
        }
    }
    problems.into_result()?;
    let configured = serve.mut_args(|arg| match defaults.remove(arg.get_id()) {
        Some(values) => arg.default_values(values),
        None => arg,
    });
    Ok((root.mut_subcommand(COMMAND, |_| configured), file))
}

fn read(path: &Path, problems: &mut Problems) -> Result<File> {
    let bytes = read_file(path, BYTES_MAX).map_err(|error| CliError::chain(&error).about("--config"))?;
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) => Document::parse(text).map_err(|errors| errors.iter().map(ToString::to_string).collect()),
        Err(_) => Err(vec!["it is not text".to_owned()]),
    };
    let document = parsed.unwrap_or_else(|errors: Vec<String>| {
        for error in errors {
            problems.add(format!("{}: {error}", path.display()));
        }
        Document::default()
    });
    Ok(File { path: path.to_owned(), document })
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|name| !NOT_SETTINGS.contains(&name))
}

fn takes_values(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// The option that a name in the file means, if it takes these values.
fn check_value(serve: &Command, name: &str, values: &[String]) -> std::result::Result<clap::Id, String> {
    let mut settings = serve.get_arguments().filter(|arg| is_setting(arg));
    let Some(arg) = settings.find(|arg| arg.get_long() == Some(name)) else {
        return Err(format!("there is no setting {name}"));
    };
    if is_secret(arg) {
        return Err(format!("{name} is a secret, which does not belong into a file like this"));
    }
    if !takes_values(arg) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(arg.get_id().clone()),
            _ => Err(format!("{name}: it is either true or false")),
        };
    }
    let takes_several = matches!(arg.get_action(), clap::ArgAction::Append) || arg.get_value_delimiter().is_some();
    if values.len() != 1 && !takes_several {
        return Err(format!("{name}: it takes one value"));
    }
    for value in values {
        parse_alone(serve, name, value).map_err(|problem| format!("{name}: {problem}"))?;
    }
    Ok(arg.get_id().clone())
}

/// What an option has to say about a value, whatever the others are.
fn parse_alone(serve: &Command, name: &str, value: &str) -> std::result::Result<(), String> {
    let alone = serve.clone().mut_args(|arg| arg.env(Resettable::Reset));
    let Err(error) = alone.try_get_matches_from([COMMAND.to_owned(), format!("--{name}={value}")]) else {
        return Ok(());
    };
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    match lines.find(|line| line.starts_with("[possible values")) {
        Some(possible) => Err(format!("{first} {possible}")),
        None => Err(first),
    }
}

impl Settings {
    /// The settings of `serve` as they were settled; none for another command.
    pub(in crate::cli) fn of(root: &Command, matches: &ArgMatches, file: &File) -> Settings {
        let (Some((COMMAND, matches)), Some(serve)) = (matches.subcommand(), root.find_subcommand(COMMAND)) else {
            return Settings::default();
        };
        let settled = serve.get_arguments().filter(|arg| is_setting(arg) && !arg.is_global_set()).map(|arg| {
            let name = arg.get_long().unwrap_or_default().to_owned();
            let id = arg.get_id().as_str();
            let texts = matches.get_raw(id).map(|values| {
                let texts = values.map(|value| value.to_string_lossy().into_owned());
                texts.collect::<Vec<_>>().join(",")
            });
            let value = if is_secret(arg) { texts.map(|_| HIDDEN.to_owned()) } else { texts };
            let variable = || arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Source::Flag(format!("--{name}").into()),
                Some(ValueSource::EnvVariable) => Source::Environment(variable().into()),
                _ if file.document.names(&name) => Source::File(file.path.display().to_string()),
                _ => Source::Default,
            };
            Settled { name, value: value.filter(|value| !value.is_empty()), source }
        });
        Settings(settled.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Settled> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;

    /// What the module says of names and variables holds for every option, also of those to come.
    #[test]
    fn every_setting_has_its_variable_and_stands_alone() {
        let root = Cli::command();
        let serve = root.find_subcommand(COMMAND).unwrap();
        for arg in serve.get_arguments().filter(|arg| is_setting(arg)) {
            let name = arg.get_long().unwrap();
            let variable = format!("ENSIGN_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(std::ffi::OsStr::to_str), Some(variable.as_str()), "--{name}");
            assert!(!arg.is_required_set(), "--{name} is required, although the file may have it");
        }
        // An option that requires another one could not be checked alone.
        let alone = |name: &str, value: &str| parse_alone(serve, name, value);
        alone("data-dir", "/x").unwrap();
        assert!(alone("durability", "never").unwrap_err().contains("[possible values: fsync, os]"));
    }

    #[test]
    fn values_of_the_file_are_checked_against_their_options() {
        let serve = Command::new(COMMAND)
            .arg(Arg::new("switch").long("switch").action(clap::ArgAction::SetTrue))
            .arg(Arg::new("list").long("list").action(clap::ArgAction::Append))
            .arg(Arg::new("hush").long("hush").env("HUSH").hide_env_values(true))
            .arg(Arg::new("n").long("n").value_parser(clap::value_parser!(u8)));
        let check = |name: &str, values: &[&str], expected: std::result::Result<&str, &str>| {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let found = check_value(&serve, name, &values).map(|id| id.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}");
        };
        check("switch", &["true"], Ok("switch"));
        check("switch", &["maybe"], Err("switch: it is either true or false"));
        check("list", &["a", "b"], Ok("list"));
        check("n", &["1"], Ok("n"));
        check("n", &["1", "2"], Err("n: it takes one value"));
        check("n", &["256"], Err("n: invalid value '256' for '--n <n>': 256 is not in 0..=255"));
        check("hush", &["x"], Err("hush is a secret, which does not belong into a file like this"));
        check("config", &["x"], Err("there is no setting config"));
    }
}
