//! MurmurHash3 x64 128-bit with seed 0, with which the Ensign API hashes names and events. Not a cryptographic hash.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The digest as the Ensign API writes it: h1 then h2, each big-endian.
pub fn murmur3_128(data: &[u8]) -> [u8; 16] {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = data.as_chunks::<16>();
    for block in blocks {
        h1 = (h1 ^ mix1(word(&block[..8]))).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(&block[8..]))).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(high));
    h1 ^= mix1(word(low));

    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);

    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&h1.to_be_bytes());
    digest[8..].copy_from_slice(&h2.to_be_bytes());
    digest
}

/// Up to eight bytes as a little-endian number.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn mix1(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &[u8], digest: u128) {
        assert_eq!(u128::from_be_bytes(murmur3_128(data)), digest);
    }

    /// Vectors that the published SDKs and servers agree on.
    #[test]
    fn published_vectors() {
        check(b"", 0);
        check(b"testing", 0x6357_03dc_08f5_c60c_2153_4f8d_71ae_858a);
        check(b"testing.test.consumergroup.alpha", 0xf0a5_b950_0d4b_78e0_dd7f_150a_3915_5952);
        let id = [16, 32, 255, 129, 82, 91, 255, 0, 21, 48, 198, 122, 219, 42];
        check(&id, 0x8f08_f56c_7164_c655_e747_95b4_a052_b705);
    }
}
