//! The file in which the SDKs take a key's credentials: `{"ClientID": "…", "ClientSecret": "…"}`.

use std::path::Path;

use serde_json::{Value, json};

use super::{SecretError, reference::FILE_BYTES_MAX};
use crate::{
    model::Secret,
    sys::files::{read_file, write_private_file},
};

/// What an API key signs in with.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: Secret,
}

/// Writes a credential file for its owner alone.
pub fn write_credential_file(path: &Path, credentials: &ClientCredentials) -> Result<(), SecretError> {
    let secret = credentials.client_secret.expose_str();
    let document = json!({"ClientID": credentials.client_id, "ClientSecret": secret});
    let mut text = serde_json::to_vec_pretty(&document).expect("two texts can be written as JSON");
    text.push(b'\n');
    Ok(write_private_file(path, &text)?)
}

/// Reads a credential file; `None` when there is no such file.
pub fn read_credential_file(path: &Path) -> Result<Option<ClientCredentials>, SecretError> {
    match read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) => match parse(&bytes) {
            Some(credentials) => Ok(Some(credentials)),
            None => Err(SecretError::NotCredentials { path: path.to_owned().into() }),
        },
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The credentials of a credential file's content; nothing if it is something else.
pub(super) fn parse(bytes: &[u8]) -> Option<ClientCredentials> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let text = |name: &str| Some(document.get(name)?.as_str()?.to_owned());
    Some(ClientCredentials { client_id: text("ClientID")?, client_secret: Secret::new(text("ClientSecret")?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::{Access, access};

    #[test]
    fn a_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        assert!(read_credential_file(&path).unwrap().is_none());
        let written = ClientCredentials { client_id: "id".to_owned(), client_secret: Secret::new("hush") };
        write_credential_file(&path, &written).unwrap();
        assert_eq!(access(&path).unwrap(), Access::Private);
        let read = read_credential_file(&path).unwrap().unwrap();
        assert_eq!((read.client_id.as_str(), read.client_secret.expose()), ("id", &b"hush"[..]));
        write_private_file(&path, b"{}").unwrap();
        assert!(matches!(read_credential_file(&path), Err(SecretError::NotCredentials { .. })));
    }
}
