//! The commands of the shell itself, which begin with a backslash: what is meant by a line, and what is wrong with it.

use crate::{
    cli::{
        error::{CliError, Result},
        output::Format,
        query::parameter::ParameterArg,
    },
    client::Parameter,
};

/// A command of the shell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meta {
    Topics,
    Fields {
        topic: String,
    },
    /// On or off; the other one when it is not said.
    Timing(Option<bool>),
    /// To a file, or back to the terminal.
    Output(Option<String>),
    /// Another form, or none: say which it is.
    Format(Option<Format>),
    Set(Parameter),
    /// Say which parameters there are.
    Parameters,
    Unset(String),
    Help,
    Language,
    Quit,
}

/// Every command with what may follow it and what it does, in the order in which help shows them.
pub(super) const COMMANDS: [(&str, &str, &str); 14] = [
    ("\\d", "", "list the topics"),
    ("\\d", "TOPIC", "list the fields of a topic, as some of its events have them"),
    ("\\f", "FORMAT", "show results as table, json, jsonl, yaml, csv, raw or template=TEXT"),
    ("\\format", "FORMAT", "the same"),
    ("\\o", "FILE", "write results to a file"),
    ("\\o", "", "write results to the terminal again"),
    ("\\set", "NAME VALUE", "give a value to the parameter :NAME"),
    ("\\set", "", "list the parameters"),
    ("\\unset", "NAME", "take its value away"),
    ("\\timing", "[on|off]", "say how long queries take"),
    ("\\h", "", "show what a query consists of"),
    ("\\help", "", "the same as \\?"),
    ("\\?", "", "show this"),
    ("\\q", "", "leave, as exit, quit and ctrl-d do"),
];

/// What other shells have, and what there is instead.
const ELSEWHERE: [(&str, &str); 13] = [
    ("\\dt", "\\d lists the topics"),
    ("\\l", "another project is chosen with `ensign query --project PROJECT`"),
    ("\\c", "another project is chosen with `ensign query --project PROJECT`"),
    ("\\x", "\\format yaml shows a field a line"),
    ("\\i", "`ensign query -f FILE` runs what is in a file"),
    ("\\a", "\\format csv shows results without columns of one width"),
    ("\\e", "the arrow keys bring a statement back, with all its lines"),
    (".tables", "\\d lists the topics"),
    (".schema", "\\d TOPIC lists the fields of a topic"),
    (".mode", "\\format FORMAT shows results in another form"),
    (".output", "\\o FILE writes results to a file"),
    (".timer", "\\timing on says how long queries take"),
    (".help", "\\? lists the commands"),
];

/// From which likeness on a command may have been meant.
const LIKENESS: f64 = 0.75;

/// Whether a line is a command. No statement begins with a dot, but a line in the middle of one may.
pub(super) fn is_command(line: &str, begins_statement: bool) -> bool {
    let line = line.trim_start();
    line.starts_with('\\') || (begins_statement && line.starts_with('.'))
}

/// What a line without a backslash means when it is not part of a statement.
pub(super) fn plain_word(line: &str) -> Option<Meta> {
    match line.trim().trim_end_matches(';').trim_end().to_ascii_lowercase().as_str() {
        "exit" | "quit" => Some(Meta::Quit),
        "help" | "?" => Some(Meta::Help),
        _ => None,
    }
}

/// Reads a command.
pub(super) fn parse(line: &str) -> Result<Meta> {
    let line = line.trim();
    let line = line.trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let takes_nothing = |meta: Meta| {
        if rest.is_empty() { Ok(meta) } else { Err(CliError::usage(format!("{name} takes nothing behind it"))) }
    };
    match name {
        "\\d" if rest.is_empty() => Ok(Meta::Topics),
        "\\d" => Ok(Meta::Fields { topic: unquoted(rest) }),
        "\\timing" => Ok(Meta::Timing(match rest.to_ascii_lowercase().as_str() {
            "" => None,
            "on" => Some(true),
            "off" => Some(false),
            _ => return Err(CliError::usage(format!("{rest:?} is neither on nor off")).hint("\\timing on")),
        })),
        "\\o" if rest.starts_with('|') => Err(CliError::usage("results go to a file, not to another program")
            .hint("\\o FILE; outside of the shell, `ensign query 'SELECT …' | PROGRAM`")),
        "\\o" => Ok(Meta::Output((!rest.is_empty()).then(|| unquoted(rest)))),
        "\\f" | "\\format" if rest.is_empty() => Ok(Meta::Format(None)),
        "\\f" | "\\format" => match rest.parse() {
            Ok(format) => Ok(Meta::Format(Some(format))),
            Err(what) => Err(CliError::usage(format!("{rest:?} is no format: {what}")).hint("\\format csv")),
        },
        "\\set" if rest.is_empty() => Ok(Meta::Parameters),
        "\\set" => set(rest).map(Meta::Set),
        "\\unset" if rest.is_empty() => {
            Err(CliError::usage("\\unset needs the name of a parameter").hint("\\set lists the parameters"))
        }
        "\\unset" => Ok(Meta::Unset(parameter_name(rest).to_owned())),
        "\\?" | "\\help" => takes_nothing(Meta::Help),
        "\\h" => Ok(Meta::Language),
        "\\q" | "\\quit" | "\\exit" | ".quit" | ".exit" => takes_nothing(Meta::Quit),
        _ => Err(unknown(name)),
    }
}

/// `NAME VALUE`, or `NAME=VALUE` as on the command line.
fn set(rest: &str) -> Result<Parameter> {
    let hint = "\\set country 'DE' is what :country stands for then";
    let end = rest.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(rest.len());
    let (name, value) = rest.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let name = parameter_name(name);
    if name.is_empty() || value.is_empty() {
        return Err(CliError::usage("\\set needs a name and a value").hint(hint));
    }
    let argument: std::result::Result<ParameterArg, String> = format!("{name}={value}").parse();
    argument.map(|argument| argument.0).map_err(|what| CliError::usage(what).hint(hint))
}

/// A parameter's name without the sign that it has in a query.
fn parameter_name(text: &str) -> &str {
    text.strip_prefix([':', '@']).unwrap_or(text)
}

/// What is between quotes, when all of it is.
fn unquoted(text: &str) -> String {
    let within = ['\'', '"', '`'].into_iter().find_map(|quote| {
        let within = text.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(within.replace(&format!("{quote}{quote}"), &quote.to_string()))
    });
    within.unwrap_or_else(|| text.to_owned())
}

fn unknown(name: &str) -> CliError {
    let error = CliError::usage(format!("there is no command {name}"));
    let lower = name.to_lowercase();
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(known, _)| *known == lower) {
        return error.hint(*instead);
    }
    let bare = lower.trim_start_matches(['\\', '.']);
    let likeness = |known: &str| strsim::jaro_winkler(known.trim_start_matches('\\'), bare);
    let nearest = COMMANDS.iter().map(|(known, ..)| *known).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|known| likeness(known) >= LIKENESS) {
        Some(known) => error.hint(format!("did you mean {known}? \\? lists the commands")),
        None => error.hint("\\? lists the commands"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::ParameterValue;

    fn check(line: &str, expected: Meta) {
        assert!(is_command(line, true));
        assert_eq!(parse(line), Ok(expected), "{line}");
    }

    fn check_error(line: &str, message: &str, hint: &str) {
        let error = parse(line).unwrap_err();
        assert_eq!((error.message.as_str(), error.hint.as_deref().unwrap_or_default()), (message, hint), "{line}");
    }

    #[test]
    fn commands() {
        check("\\d", Meta::Topics);
        check(" \\d flights ; ", Meta::Fields { topic: "flights".to_owned() });
        check("\\d \"a b\"", Meta::Fields { topic: "a b".to_owned() });
        check("\\timing", Meta::Timing(None));
        check("\\timing ON", Meta::Timing(Some(true)));
        check("\\timing off", Meta::Timing(Some(false)));
        check("\\o", Meta::Output(None));
        check("\\o a b.csv", Meta::Output(Some("a b.csv".to_owned())));
        check("\\o 'it''s.csv'", Meta::Output(Some("it's.csv".to_owned())));
        check("\\f", Meta::Format(None));
        check("\\f csv", Meta::Format(Some(Format::Csv)));
        check("\\format jsonl;", Meta::Format(Some(Format::Jsonl)));
        check("\\set", Meta::Parameters);
        let parameter = |value| Meta::Set(Parameter { name: "a".to_owned(), value });
        check("\\set a 1.5", parameter(ParameterValue::Float(1.5)));
        check("\\set :a 'x y'", parameter(ParameterValue::Text("x y".to_owned())));
        check("\\set a=x", parameter(ParameterValue::Text("x".to_owned())));
        check("\\set a = =", parameter(ParameterValue::Text("=".to_owned())));
        check("\\unset :a", Meta::Unset("a".to_owned()));
        check("\\?", Meta::Help);
        check("\\h select", Meta::Language);
        check("\\q", Meta::Quit);
        check(".exit", Meta::Quit);
    }

    #[test]
    fn words_without_a_backslash() {
        assert_eq!(plain_word(" Exit ; "), Some(Meta::Quit));
        assert_eq!(plain_word("quit"), Some(Meta::Quit));
        assert_eq!(plain_word("help"), Some(Meta::Help));
        assert_eq!(plain_word("exit 1"), None);
        assert_eq!(plain_word(""), None);
        assert!(is_command(" \\d", false) && is_command(".tables", true) && !is_command(".5", false));
        assert!(!is_command("SELECT", true));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_helps() {
        check_error("\\timng", "there is no command \\timng", "did you mean \\timing? \\? lists the commands");
        check_error("\\formt csv", "there is no command \\formt", "did you mean \\format? \\? lists the commands");
        check_error("\\D", "there is no command \\D", "did you mean \\d? \\? lists the commands");
        check_error("\\zzz", "there is no command \\zzz", "\\? lists the commands");
        check_error("\\", "there is no command \\", "\\? lists the commands");
        check_error(".tables", "there is no command .tables", "\\d lists the topics");
        check_error("\\timing maybe", "\"maybe\" is neither on nor off", "\\timing on");
        check_error(
            "\\f xml",
            "\"xml\" is no format: use table, json, jsonl, yaml, csv, raw or template=TEXT",
            "\\format csv",
        );
        check_error(
            "\\o | cat",
            "results go to a file, not to another program",
            "\\o FILE; outside of the shell, `ensign query 'SELECT …' | PROGRAM`",
        );
        check_error("\\q now", "\\q takes nothing behind it", "");
        check_error("\\set a", "\\set needs a name and a value", "\\set country 'DE' is what :country stands for then");
        check_error("\\unset", "\\unset needs the name of a parameter", "\\set lists the parameters");
        assert!(parse("\\set a-b 1").is_err());
    }

    #[test]
    fn every_command_of_the_help_is_there() {
        for (name, behind, _) in COMMANDS {
            let line = match behind {
                "TOPIC" => format!("{name} flights"),
                "FORMAT" => format!("{name} csv"),
                "NAME VALUE" => format!("{name} a 1"),
                other => format!("{name} {}", other.trim_matches(['[', ']']).split('|').next().unwrap_or_default()),
            };
            assert!(parse(&line).is_ok(), "{line}");
        }
        for (name, _) in ELSEWHERE {
            assert!(parse(name).is_err(), "{name} is there");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\\\?\\PC{0,20}|\\\\(d|o|f|set|unset|timing|q) ?[ '\"`=:;a\u{e9}]{0,8}") {
            drop((parse(&line), plain_word(&line), is_command(&line, false)));
        }
    }
}
