//! The ready file: what a program needs to use a server, written when the server is ready.

use std::path::Path;

use serde_json::json;

use super::{Access, Owner};
use crate::{
    cli::error::{CliError, Result},
    model::Durability,
    sys::files::{remove_file, write_private_file},
};

/// How to trust a server that speaks TLS.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct ReadyTls<'a> {
    /// The authority to trust; none when it is one that clients know anyhow.
    pub(in crate::cli) ca_file: Option<&'a Path>,
}

/// What the file says.
#[derive(Debug)]
pub(in crate::cli) struct ReadyFile<'a> {
    pub(in crate::cli) endpoint: &'a str,
    pub(in crate::cli) auth_url: &'a str,
    pub(in crate::cli) tls: Option<ReadyTls<'a>>,
    pub(in crate::cli) durability: Durability,
    pub(in crate::cli) data_dir: Option<&'a Path>,
    pub(in crate::cli) profile: Option<&'a str>,
    /// The key that was made for whoever reads the file, if one was.
    pub(in crate::cli) access: Option<&'a Access>,
    /// The owner of the key's organization, if the server made one.
    pub(in crate::cli) owner: Option<&'a Owner>,
}

impl ReadyFile<'_> {
    /// Writes the file as a whole, for its owner alone.
    pub(in crate::cli) fn write(&self, path: &Path) -> Result<()> {
        let access = self.access;
        let document = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "endpoint": self.endpoint,
            "auth_url": self.auth_url,
            "console_url": null,
            "tls": self.tls.map(|tls| json!({ "ca_file": tls.ca_file.map(|path| path.display().to_string()) })),
            "durability": self.durability.name(),
            "data_dir": self.data_dir.map(|dir| dir.display().to_string()),
            "organization_id": access.map(|access| access.organization.to_string()),
            "project_id": access.map(|access| access.project.to_string()),
            "profile": self.profile,
            "client_id": access.map(|access| access.key.client_id.as_str()),
            "client_secret": access.map(Access::secret),
            "email": self.owner.map(|owner| owner.email.as_str()),
            "password": self.owner.map(Owner::password),
        });
        write_private_file(path, format!("{document:#}\n").as_bytes()).map_err(|error| CliError::chain(&error))
    }

    /// Removes the file: one that was left behind must not be taken for that of a server which runs.
    pub(in crate::cli) fn remove(path: Option<&Path>) -> Result<()> {
        let removed = path.map(remove_file).transpose();
        removed.map(drop).map_err(|error| CliError::chain(&error))
    }
}
