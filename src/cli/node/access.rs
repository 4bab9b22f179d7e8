//! What is needed to use a server that made its own key: where it is, and the key.

use std::path::{Path, PathBuf};

use super::host_and_port;
use crate::{
    cli::error::{CliError, Result},
    credentials::{ClientCredentials, read_credential_file, write_credential_file},
    identity::{IdentityError, NewKey},
    model::{KeyId, OrganizationId, Permissions, Principal, ProjectId, Subject},
    server::Server,
};

/// The file of a development server's key in the data directory, as the SDKs read it.
pub(in crate::cli) const KEY_FILE: &str = "client.json";

/// Where the key is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum KeyFile<'a> {
    Nowhere,
    /// In a file of the server's own, which is written anew when its key is unknown.
    Own(&'a Path),
    /// In a file that somebody named, and in which there may be something else.
    Named(&'a Path),
}

/// Where a server is and who may use it.
#[derive(Debug)]
pub(in crate::cli) struct Access {
    /// `host:port`, as the SDKs take it.
    pub(in crate::cli) endpoint: String,
    /// The authority that clients have to trust, when the server speaks TLS with a certificate of its own making.
    pub(in crate::cli) ca_file: Option<PathBuf>,
    pub(in crate::cli) organization: OrganizationId,
    pub(in crate::cli) project: ProjectId,
    pub(in crate::cli) key: ClientCredentials,
}

/// The variables by which programs find an authority to trust: this command line, gRPC for Python, and what uses OpenSSL or Go.
pub(in crate::cli) fn trust_variables(ca_file: &Path) -> [(&'static str, String); 3] {
    ["ENSIGN_CA_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE"]
        .map(|name| (name, ca_file.display().to_string()))
}

impl Access {
    /// Makes what is missing: organization, project and key at the first start, the key also when its file is gone.
    pub(in crate::cli) async fn prepare(server: &Server, key_file: KeyFile<'_>) -> Result<Access> {
        let failed = |error: IdentityError| CliError::chain(&error);
        let identity = server.identity();
        let made = identity.ensure_default().await.map_err(failed)?;
        let path = match key_file {
            KeyFile::Nowhere => None,
            KeyFile::Own(path) | KeyFile::Named(path) => Some(path),
        };
        let kept = path.map(read_credential_file).transpose()?.flatten();
        // Whether the secret is right, too, would cost a password hash at every start; only a hand could have changed
        // it.
        let known = match kept {
            Some(key) => {
                let keys = identity.keys(made.project.id).await.map_err(failed)?;
                let known = keys.iter().any(|known| known.client_id == key.client_id);
                if let (false, KeyFile::Named(path)) = (known, key_file) {
                    return Err(CliError::failed(format!("{} has a key of another server", path.display()))
                        .hint("name a file that is not there yet"));
                }
                known.then_some(key)
            }
            None => None,
        };
        let key = match (known, made.issued) {
            (Some(key), None) => key,
            (_, issued) => {
                let issued = if let Some(issued) = issued {
                    issued
                } else {
                    let permissions = Permissions::full_key();
                    let (name, project) = ("dev".to_owned(), made.project.id);
                    let new = NewKey { name, project, permissions, created_by: None };
                    identity.create_key(new).await.map_err(failed)?
                };
                let key = ClientCredentials { client_id: issued.key.client_id, client_secret: issued.secret };
                if let Some(path) = path {
                    write_credential_file(path, &key)?;
                }
                key
            }
        };
        let endpoint = host_and_port(server.addr());
        Ok(Access { endpoint, ca_file: None, organization: made.organization.id, project: made.project.id, key })
    }

    /// The variables by which SDKs and this command line find the server.
    pub(in crate::cli) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("ENSIGN_ENDPOINT", self.endpoint.clone()),
            ("ENSIGN_AUTH_URL", self.auth_url()),
            ("ENSIGN_CLIENT_ID", self.key.client_id.clone()),
            ("ENSIGN_CLIENT_SECRET", self.secret().to_owned()),
            ("ENSIGN_INSECURE", self.ca_file.is_none().to_string()),
        ];
        variables.extend(self.ca_file.iter().flat_map(|path| trust_variables(path)));
        variables
    }

    pub(in crate::cli) fn auth_url(&self) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.endpoint)
    }

    pub(in crate::cli) fn secret(&self) -> &str {
        self.key.client_secret.expose_str().expect("secrets of keys are letters and digits")
    }

    /// Who the key is, for questions that the server is asked from within.
    pub(in crate::cli) fn principal(&self) -> Principal {
        Principal {
            subject: Subject::Key(KeyId::default()),
            organization: self.organization,
            project: Some(self.project),
            permissions: Permissions::full_key(),
        }
    }
}
