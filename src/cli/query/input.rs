//! Where a query's text comes from: an argument, a file, or standard input.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use crate::{
    cli::error::{CliError, Result},
    ensql::{PieceKind, pieces},
    sys::files::read_file,
};

/// More than a server takes, so that it is the server that says how much it takes.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// The text of a query; nothing when there is none to be had without a person.
pub(super) fn text(argument: Option<String>, file: Option<&Path>) -> Result<Option<String>> {
    if argument.is_some() {
        return Ok(argument);
    }
    match file {
        Some(path) if path.as_os_str() != "-" => {
            let bytes = read_file(path, TEXT_BYTES_MAX).map_err(|error| {
                if error.is_not_found() {
                    CliError::not_found(format!("there is no file {}", path.display()))
                } else {
                    CliError::chain(&error)
                }
            })?;
            decoded(bytes, &path.display().to_string()).map(Some)
        }
        None if io::stdin().is_terminal() => Ok(None),
        _ => {
            let mut bytes = Vec::new();
            let read = io::stdin().take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
            read.map_err(|error| CliError::failed(format!("can't read standard input: {error}")))?;
            if bytes.len() as u64 > TEXT_BYTES_MAX {
                return Err(CliError::usage(format!(
                    "standard input has more than {TEXT_BYTES_MAX} bytes, which is no query"
                )));
            }
            decoded(bytes, "standard input").map(Some)
        }
    }
}

/// The statements of a text, one behind the other. What consists of spaces and comments alone is none.
///
/// One alone is the whole text, as it was written.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut start, mut says_something) = (0, false);
    for piece in pieces(text) {
        match piece.kind {
            PieceKind::Semicolon => {
                if std::mem::take(&mut says_something) {
                    statements.push(&text[start..piece.range.start]);
                }
                start = piece.range.end;
            }
            PieceKind::Space | PieceKind::Comment => {}
            _ => says_something = true,
        }
    }
    if says_something {
        statements.push(&text[start..]);
    }
    if statements.len() == 1 { vec![text] } else { statements }
}

fn decoded(bytes: Vec<u8>, name: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!("{name} is no text in UTF-8, from byte {at} on"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_stand_behind_each_other() {
        assert_eq!(statements("SELECT ';' -- ;\n; \n\nb;;/* ; */"), ["SELECT ';' -- ;\n", " \n\nb"]);
        assert_eq!(statements("a; b 'c;"), ["a", " b 'c;"]);
        assert_eq!(statements(" a;\n-- the end\n"), [" a;\n-- the end\n"]);
        assert!(statements(" ; -- nothing").is_empty() && statements("").is_empty());
    }

    #[test]
    fn texts_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.sql");
        std::fs::write(&path, "SELECT 1").unwrap();
        assert_eq!(text(None, Some(&path)), Ok(Some("SELECT 1".to_owned())));
        assert_eq!(text(Some("a".to_owned()), None), Ok(Some("a".to_owned())));
        std::fs::write(&path, b"SELECT \xff").unwrap();
        let error = text(None, Some(&path)).unwrap_err();
        assert_eq!(error.message, format!("{} is no text in UTF-8, from byte 7 on", path.display()));
        assert!(text(None, Some(&dir.path().join("none"))).unwrap_err().message.starts_with("there is no file"));
    }
}
