//! What fuzzers feed with arbitrary bytes: the files of profiles, of the vault, and of an SDK's key.

use std::path::{Path, PathBuf};

use super::{
    parse_topic_keys, passphrase::Passphrase, profile::Profiles, sdk_file, topic_keys, vault::Vault, write_topic_keys,
};
use crate::{model::Secret, sys::Entropy};

/// Profiles that are read are the same when they are written and read again, and what they select is there.
pub fn fuzz_profiles(data: &[u8]) {
    let path = Path::new("profiles.yaml");
    let Ok(profiles) = Profiles::parse(data, path) else { return };
    assert_eq!(profiles.iter().count() == 0, profiles.is_empty());
    let written = profiles.to_text();
    let again = Profiles::parse(written.as_bytes(), path);
    let again = again.unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, profiles, "{written}");
    if let Some((name, profile)) = profiles.selected() {
        assert_eq!(profiles.get(name).ok(), Some(profile));
    }
}

/// A vault, or the file that an SDK reads, is taken or refused.
pub fn fuzz_secret_files(data: &[u8]) {
    let vault = Vault::at(PathBuf::from("vault.json"), Passphrase::Unavailable, Entropy::seeded(1));
    if vault.is_sealed(data) {
        let document: Result<serde_json::Value, _> = serde_json::from_slice(data);
        assert!(document.is_ok_and(|document| document.is_object()));
    }
    if let Ok(keys) = topic_keys::parse(data, Path::new("topic-keys.yaml")) {
        let written = topic_keys::to_text(keys.clone());
        let again = topic_keys::parse(written.as_bytes(), Path::new("topic-keys.yaml"));
        assert_eq!(again.ok(), Some(keys), "{written}");
    }
    if let Ok(keys) = parse_topic_keys(&Secret::new(data)) {
        let again = parse_topic_keys(&write_topic_keys(&keys)).expect("it was written just now");
        assert_eq!(again.len(), keys.len());
    }
    if let Some(credentials) = sdk_file::parse(data) {
        assert!(credentials.client_secret.expose_str().is_some(), "it was text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    const LIST: &[u8] = b"version: 1\nkeys:\n  01JD2W7Q1M8KQX3V9Z4T5B6C7D.1:\n    topic: a\n    \
        topic_id: 01JD2W7Q1M8KQX3V9Z4T5B6C7D\n    events: 7\n    secret: vault\n";

    const KEY: &[u8] = b"{\"ensign_topic_key\":1,\"id\":\"01JD2W7Q1M8KQX3V9Z4T5B6C7D.1\",\"topic\":\"a\",\
        \"topic_id\":\"01JD2W7Q1M8KQX3V9Z4T5B6C7D\",\"secret\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}";

    #[test]
    fn profiles() {
        let seeds: [&[u8]; 4] = [
            b"version: 1\nselected: dev\nprevious: null\nprofiles:\n  dev:\n    endpoint: localhost:5356\n    \
              auth_url: http://localhost:5356\n    insecure: true\n    project: null\n    client_id: abc\n    \
              secret: file:/data/client.json\n",
            b"version: 1\nprofiles: {}\n",
            b"version: 1\nprofiles:\n  'a': &x {endpoint: 'a:1', auth_url: 'http://a', insecure: false}\n  b: *x\n",
            b"version: 99999999999999999999\n",
        ];
        run_bounded("profiles", &seeds, fuzz_profiles);
    }

    #[test]
    fn secret_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.json");
        let vault = Vault::at(path.clone(), Passphrase::Given(Secret::new("open")), Entropy::seeded(1));
        vault.put("account", "secret").unwrap();
        let sealed = std::fs::read(&path).unwrap();
        assert!(vault.is_sealed(&sealed));
        let seeds = [
            &sealed[..],
            br#"{"ClientID":"a","ClientSecret":"b"}"#,
            br#"{"client_id":"a","client_secret":"b"}"#,
            LIST,
            KEY,
        ];
        run_bounded("a file of secrets", &seeds, fuzz_secret_files);
    }
}
