//! `ensign completions`: the script that a shell completes with.

use clap::ValueEnum;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::{Context, error::Result};

/// Print the completion script of a shell
///
/// The script asks `ensign` itself, so that it never grows old, and knows the names of your profiles and topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign completions bash > ~/.local/share/bash-completion/completions/ensign
  $ ensign completions fish > ~/.config/fish/completions/ensign.fish
  $ ensign completions zsh > ~/.zfunc/_ensign")]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let completer: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Zsh => &Zsh,
        };
        let mut script = Vec::new();
        let written = completer.write_registration("COMPLETE", "ensign", "ensign", "ensign", &mut script);
        written.expect("memory takes everything");
        context.output.text(&script)
    }
}
