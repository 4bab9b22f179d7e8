//! Compressed messages of streaming requests, gzip or zstd, with a limit on what comes out.

use std::io::Read;

use http::HeaderMap;
use tonic::Status;

use crate::model::limits::MESSAGE_BYTES_MAX;

/// How the messages of a request are compressed that say they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// # Errors
    ///
    /// Unimplemented when the `grpc-encoding` header names something else.
    pub(super) fn of(headers: &HeaderMap) -> Result<Encoding, Status> {
        match headers.get("grpc-encoding").map(http::HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(b"zstd") => Ok(Encoding::Zstd),
            Some(_) => Err(Status::unimplemented("messages may be compressed with gzip or zstd only")),
        }
    }

    /// # Errors
    ///
    /// When the message does not decompress, or becomes larger than a message may be.
    pub(super) fn decompress(self, message: &[u8]) -> Result<Vec<u8>, Status> {
        let broken = |_| Status::internal("a compressed message cannot be decompressed");
        match self {
            Encoding::Identity => Err(Status::internal("a compressed message in a call without grpc-encoding")),
            Encoding::Gzip => read_limited(flate2::read::GzDecoder::new(message)),
            Encoding::Zstd => read_limited(zstd::stream::read::Decoder::new(message).map_err(broken)?),
        }
    }
}

fn read_limited(decoder: impl Read) -> Result<Vec<u8>, Status> {
    let mut message = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64;
    decoder
        .take(limit + 1)
        .read_to_end(&mut message)
        .map_err(|_| Status::internal("a compressed message cannot be decompressed"))?;
    if message.len() > MESSAGE_BYTES_MAX {
        let text = format!("a message is larger than {MESSAGE_BYTES_MAX} bytes once it is decompressed");
        return Err(Status::resource_exhausted(text));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn messages_come_back() {
        let message = b"the quick brown fox".repeat(10);
        assert_eq!(Encoding::Gzip.decompress(&gzip(&message)).unwrap(), message);
        let compressed = zstd::stream::encode_all(&message[..], 1).unwrap();
        assert_eq!(Encoding::Zstd.decompress(&compressed).unwrap(), message);
    }

    #[test]
    fn what_is_broken_or_grows_too_large_is_refused() {
        assert_eq!(Encoding::Gzip.decompress(b"junk").unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(Encoding::Zstd.decompress(b"junk").unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(Encoding::Identity.decompress(b"").unwrap_err().code(), tonic::Code::Internal);
        let bomb = gzip(&vec![0; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(Encoding::Gzip.decompress(&bomb).unwrap_err().code(), tonic::Code::ResourceExhausted);
    }
}
