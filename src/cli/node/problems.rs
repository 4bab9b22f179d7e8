//! Everything that is wrong with a configuration, said at once.

use crate::cli::error::{CliError, Result};

/// What is wrong with a configuration; nothing, in the best case.
#[derive(Debug, Default)]
pub(in crate::cli) struct Problems(Vec<String>);

impl Problems {
    /// Notes a problem: a sentence that begins with the setting it is about.
    pub(in crate::cli) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Notes the problem when there is one, and gives the value when there is none.
    pub(in crate::cli) fn note<T>(&mut self, setting: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(format!("{setting}: {}", error.message));
                None
            }
        }
    }

    /// One error for all of them, which is one of usage.
    pub(in crate::cli) fn into_result(self) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(CliError::usage(one.clone()).hint(HINT)),
            all => {
                let list = all.join("\n  ");
                Err(CliError::usage(format!("the configuration has {} problems:\n  {list}", all.len())).hint(HINT))
            }
        }
    }
}

const HINT: &str = "`ensign serve --help` explains every setting";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_a_line_and_several_are_a_list() {
        let mut problems = Problems::default();
        assert_eq!(problems.note("--addr", Ok(1)), Some(1));
        problems.add("--data-dir: it is not said");
        assert_eq!(Problems(problems.0.clone()).into_result().unwrap_err().message, "--data-dir: it is not said");
        assert_eq!(problems.note::<u8>("--addr", Err(CliError::failed("no"))), None);
        assert_eq!(
            problems.into_result().unwrap_err().message,
            "the configuration has 2 problems:\n  --data-dir: it is not said\n  --addr: no"
        );
        Problems::default().into_result().unwrap();
    }
}
