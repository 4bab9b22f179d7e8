//! `ensign man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{
    Context,
    args::Cli,
    error::{CliError, Result},
};
use crate::sys::files::{create_private_dir, exists, write_file};

/// Write the manual pages into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign man ~/.local/share/man/man1
  $ ensign man . && man ./ensign-tail.1")]
pub(super) struct Args {
    /// The directory; it is made when it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        if !exists(&self.dir) {
            create_private_dir(&self.dir).map_err(|error| CliError::chain(&error))?;
        }
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        let mut pages = 0;
        write_pages(&root, "ensign", &self.dir, &mut pages)?;
        context.output.note(&format!("wrote {pages} pages to {}", self.dir.display()));
        Ok(())
    }
}

/// Writes the page of a command and those of the commands below it.
fn write_pages(command: &clap::Command, name: &str, dir: &Path, pages: &mut usize) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, &format!("{name}-{}", below.get_name()), dir, pages)?;
    }
    let command = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let page = Man::new(command)
        .title(name.to_uppercase())
        .date("")
        .source(concat!("ensign ", env!("CARGO_PKG_VERSION")))
        .manual("Ensign");
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| CliError::failed(format!("can't write the page of {name}: {error}")))?;
    let path = dir.join(format!("{name}.1"));
    write_file(&path, &text).map_err(|error| CliError::chain(&error))?;
    *pages += 1;
    Ok(())
}
