//! Crockford's base 32 over whole numbers: the text form of ULIDs (26 characters) and RLIDs (16 characters).
//!
//! The aliases of Crockford's scheme (`i`, `l`, `o`) are not read: the Ensign API has none.

pub(super) const LOWER: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
pub(super) const UPPER: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Writes the low `5 * digits` bits of a number, most significant digit first.
pub(super) fn encode(number: u128, digits: u32, alphabet: &[u8; 32]) -> String {
    (0..digits)
        .rev()
        .map(|digit| {
            let index = (number >> (5 * digit)) & 31;
            char::from(alphabet[usize::try_from(index).expect("five bits fit")])
        })
        .collect()
}

/// The value of one character, in either case.
pub(super) fn digit(character: u8) -> Option<u8> {
    let lower = character.to_ascii_lowercase();
    let index = LOWER.iter().position(|known| *known == lower)?;
    u8::try_from(index).ok()
}
