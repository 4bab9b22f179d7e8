//! What fuzzers feed with arbitrary bytes: page tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::page::{List, PageTokens};
use crate::model::{ProjectId, Time, Ulid};

/// A token is one that was issued, or it is refused: made up, changed anywhere, for another list, project or day.
pub fn fuzz_page_token(data: &[u8]) {
    let (tokens, project, now) =
        (PageTokens::with_key([7; 32]), ProjectId(Ulid::from_bytes([1; 16])), Time::from_millis(1_790_000_000_000));
    let read = |token: &str| tokens.read(List::Topics, project, token, now);
    // A fuzzer that watches comparisons may find a token that was issued here before.
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(Some(last)) = read(text)
    {
        assert_eq!(tokens.issue(List::Topics, project, last, now), text);
    }
    assert!(read(&URL_SAFE_NO_PAD.encode(data)).is_err() || data.is_empty());
    let Some((last, changes)) = data.split_first_chunk() else { return };
    let issued = tokens.issue(List::Topics, project, *last, now);
    assert_eq!(read(&issued).ok(), Some(Some(*last)));
    assert!(tokens.read(List::Names, project, &issued, now).is_err());
    let mut bytes = issued.clone().into_bytes();
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) % bytes.len();
        bytes[at] ^= change[1];
    }
    if let Ok(changed) = String::from_utf8(bytes) {
        assert!(changed == issued || read(&changed).is_err(), "{changed:?} was never issued");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn page_tokens() {
        run_bounded("a page token", &[&[3; 16], &[[3; 16].as_slice(), &[0, 1, 9, 2]].concat()], fuzz_page_token);
    }
}
