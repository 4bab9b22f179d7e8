//! What a server says of its storage: a few of the numbers in its metrics.

use super::{Client, connection::http_client};

/// Sealed segments, as of now: what the server has stored and does not write to any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageInfo {
    pub segments: u64,
    /// The segments' files.
    pub bytes: u64,
    /// Blocks of topics that are there, and of destroyed ones.
    pub live_bytes: u64,
    pub dead_bytes: u64,
    /// What of the live bytes is in small blocks.
    pub small_block_bytes: u64,
}

impl Client {
    /// What the server says of its storage; nothing when it has no metrics, or does not show them here.
    pub async fn storage(&self) -> Option<StorageInfo> {
        let http = http_client(self.endpoint(), &self.endpoint().url()).ok()?;
        let response = http.get(format!("{}/metrics", self.endpoint().url())).send().await.ok()?;
        parse(&response.error_for_status().ok()?.text().await.ok()?)
    }
}

fn parse(metrics: &str) -> Option<StorageInfo> {
    let gauge = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok())
    };
    Some(StorageInfo {
        segments: gauge("ensign_journal_sealed_segments")?,
        bytes: gauge("ensign_journal_sealed_bytes")?,
        live_bytes: gauge("ensign_journal_live_bytes")?,
        dead_bytes: gauge("ensign_journal_dead_bytes")?,
        small_block_bytes: gauge("ensign_journal_small_block_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_names() {
        let metrics = "# HELP ensign_journal_live_bytes Bytes of blocks\n# TYPE ensign_journal_live_bytes gauge\n\
            ensign_journal_sealed_segments 3\nensign_journal_sealed_bytes 100\nensign_journal_live_bytes_more 7\n\
            ensign_journal_live_bytes 80\nensign_journal_dead_bytes 0\nensign_journal_small_block_bytes 5\n";
        let expected = StorageInfo { segments: 3, bytes: 100, live_bytes: 80, dead_bytes: 0, small_block_bytes: 5 };
        assert_eq!(parse(metrics), Some(expected));
        assert_eq!(parse(&metrics.replace("dead_bytes 0", "dead_bytes many")), None);
        assert_eq!(parse(""), None);
    }
}
