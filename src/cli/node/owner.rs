//! The owner of a development server's organization: who manages it without having registered.

use std::path::Path;

use crate::{
    cli::error::{CliError, Result},
    identity::IdentityError,
    model::{OrganizationId, Secret},
    server::Server,
    sys::files::{read_file, write_private_file},
};

/// The file of the password in the data directory: the password and nothing else, so that a profile can refer to it.
pub(in crate::cli) const PASSWORD_FILE: &str = "owner.password";

/// The longest password that is looked for, in bytes.
const BYTES_MAX: u64 = 1024;

/// Whom one signs in as, and with what.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Owner {
    pub(in crate::cli) email: String,
    password: Secret,
}

impl Owner {
    /// Makes the owner at the first start, and a new password when its file is gone. Nobody, when the owner that was
    /// made has been removed since.
    pub(in crate::cli) async fn prepare(
        server: &Server,
        organization: OrganizationId,
        file: Option<&Path>,
    ) -> Result<Option<Owner>> {
        let failed = |error: IdentityError| CliError::chain(&error);
        let identity = server.identity();
        let Some(made) = identity.ensure_default_owner(organization).await.map_err(failed)? else { return Ok(None) };
        let kept = match (file, &made.password) {
            (Some(file), None) => kept_password(file)?,
            _ => None,
        };
        let is_new = kept.is_none();
        let password = match (kept, made.password) {
            (Some(kept), _) => kept,
            (None, Some(password)) => password,
            (None, None) => identity.renew_password(made.user.id).await.map_err(failed)?,
        };
        let owner = Owner { email: made.user.email, password };
        if let Some(file) = file.filter(|_| is_new) {
            owner.write(file)?;
        }
        Ok(Some(owner))
    }

    pub(in crate::cli) fn password(&self) -> &str {
        self.password.expose_str().expect("it was made of letters and digits, or read as text")
    }

    /// Writes the password for whoever runs the server alone.
    pub(in crate::cli) fn write(&self, file: &Path) -> Result<()> {
        write_private_file(file, self.password.expose()).map_err(|error| CliError::chain(&error))
    }
}

/// The password in a file; none when there is no such file, or no text in it.
fn kept_password(file: &Path) -> Result<Option<Secret>> {
    match read_file(file, BYTES_MAX) {
        Ok(bytes) => {
            Ok(std::str::from_utf8(&bytes).ok().map(str::trim_end).filter(|text| !text.is_empty()).map(Secret::new))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(CliError::chain(&error)),
    }
}
