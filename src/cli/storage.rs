//! Where a command is to keep a secret, and how it says where it did.

use clap::ValueEnum;

use crate::credentials::{Stored, Wanted, Why};

/// What `--storage` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Storage {
    /// The keyring, or else the vault
    Best,
    Keyring,
    Vault,
    /// A file that is not encrypted
    File,
}

impl Storage {
    pub(super) fn wanted(self) -> Wanted {
        match self {
            Storage::Best => Wanted::Best,
            Storage::Keyring => Wanted::Keyring,
            Storage::Vault => Wanted::Vault,
            Storage::File => Wanted::File,
        }
    }
}

/// Where it was kept and why there, for people.
pub(super) fn kept(what: &str, stored: &Stored) -> String {
    match (&stored.path, &stored.why) {
        (_, Why::NoKeyring { reason }) => {
            format!("{what} is in the encrypted vault, because there is no keyring here ({reason})")
        }
        (_, Why::Best) => format!("{what} is in the keyring of the operating system"),
        (Some(path), Why::Wanted) => format!("{what} is in {}, as you wanted", path.display()),
        (None, Why::Wanted) => format!("{what} is in {}, as you wanted", String::from(stored.place.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::SecretPlace;

    #[test]
    fn every_place_is_said() {
        let said = |place, path: Option<&str>, why| kept("it", &Stored { place, path: path.map(Into::into), why });
        assert_eq!(said(SecretPlace::Keyring, None, Why::Best), "it is in the keyring of the operating system");
        assert_eq!(said(SecretPlace::Keyring, None, Why::Wanted), "it is in keyring, as you wanted");
        assert_eq!(said(SecretPlace::File, Some("/a"), Why::Wanted), "it is in /a, as you wanted");
        let reason = "no bus".to_owned();
        let because = said(SecretPlace::Vault, Some("/v"), Why::NoKeyring { reason });
        assert_eq!(because, "it is in the encrypted vault, because there is no keyring here (no bus)");
    }
}
