//! What an event says about how it was encrypted.

use bytes::Bytes;
use prost::Message as _;

use crate::api::ensign as wire;

/// How an event was encrypted and signed, as its publisher said. The server passes it on and looks at nothing in it.
/// Numbers are those of the protocol's algorithms; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encryption {
    pub public_key_id: String,
    pub encryption_key: Bytes,
    pub hmac_secret: Bytes,
    pub signature: Bytes,
    pub sealing_algorithm: i32,
    pub encryption_algorithm: i32,
    pub signature_algorithm: i32,
}

impl Encryption {
    /// AES in Galois/Counter Mode with a key of 256 bits.
    pub const AES256_GCM: i32 = wire::encryption::Algorithm::Aes256Gcm as i32;

    /// Whether the data is something else than what the event is about.
    pub fn is_encrypted(&self) -> bool {
        self.encryption_algorithm != 0
    }

    pub(super) fn encoded(&self) -> Bytes {
        let Encryption { public_key_id, encryption_key, hmac_secret, signature, .. } = self.clone();
        let message = wire::Encryption {
            public_key_id,
            encryption_key,
            hmac_secret,
            signature,
            sealing_algorithm: self.sealing_algorithm,
            encryption_algorithm: self.encryption_algorithm,
            signature_algorithm: self.signature_algorithm,
        };
        message.encode_to_vec().into()
    }
}

impl From<wire::Encryption> for Encryption {
    fn from(message: wire::Encryption) -> Encryption {
        Encryption {
            public_key_id: message.public_key_id,
            encryption_key: message.encryption_key,
            hmac_secret: message.hmac_secret,
            signature: message.signature,
            sealing_algorithm: message.sealing_algorithm,
            encryption_algorithm: message.encryption_algorithm,
            signature_algorithm: message.signature_algorithm,
        }
    }
}
