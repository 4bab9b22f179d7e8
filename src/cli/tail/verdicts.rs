//! What standard input says of events: lines of an id, `ack` or `nack`, and the reason for a nack.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use crate::model::{NackCode, Rlid};

/// How many lines may wait to be taken.
const LINES: usize = 1_024;

/// A longer line is none that means anything.
const LINE_BYTES_MAX: u64 = 4_096;

/// The reasons that a reader may have.
const REASONS: [NackCode; 6] = [
    NackCode::Unprocessed,
    NackCode::Timeout,
    NackCode::UnhandledMimetype,
    NackCode::UnknownType,
    NackCode::DeliverAgainAny,
    NackCode::DeliverAgainNotMe,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Nack(NackCode),
}

/// Reads a line; says what is wrong with one that is no verdict.
pub(super) fn parse(line: &str) -> Result<(Rlid, Verdict), String> {
    let mut words = line.split_whitespace();
    let (id, word, reason) = (words.next().unwrap_or_default(), words.next(), words.next());
    let id = Rlid::parse(id).map_err(|_| format!("{id:?} is not the id of an event"))?;
    let verdict = match (word, reason, words.next()) {
        (None | Some("ack"), None, _) => Verdict::Ack,
        (Some("nack"), None, _) => Verdict::Nack(NackCode::Unprocessed),
        (Some("nack"), Some(reason), None) => {
            let found = REASONS.into_iter().find(|code| reason.eq_ignore_ascii_case(&text(*code)));
            let texts: Vec<String> = REASONS.into_iter().map(text).collect();
            Verdict::Nack(found.ok_or_else(|| format!("{reason:?} is no reason; there are {}", texts.join(", ")))?)
        }
        _ => return Err("write it as ID, ID ack, ID nack or ID nack REASON".to_owned()),
    };
    Ok((id, verdict))
}

/// `deliver-again-any`.
fn text(code: NackCode) -> String {
    code.name().to_ascii_lowercase().replace('_', "-")
}

/// Reads standard input on a thread of its own, line by line; the channel ends with it.
pub(super) fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES);
    let read = move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = std::io::Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                return;
            }
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("verdicts".to_owned()).spawn(read).expect("the process can have a second thread");
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_verdicts_and_others() {
        let id = Rlid::from_parts(1_700_000_000_000, 5);
        let check = |rest: &str, expected| assert_eq!(parse(&format!("{id}{rest}")), Ok((id, expected)), "{rest:?}");
        check("", Verdict::Ack);
        check("  ack ", Verdict::Ack);
        check(" nack", Verdict::Nack(NackCode::Unprocessed));
        for code in REASONS {
            check(&format!("\tnack {}", text(code)), Verdict::Nack(code));
        }
        check(" nack Deliver-Again-Not-Me", Verdict::Nack(NackCode::DeliverAgainNotMe));
        for wrong in [" yes", " ack unprocessed", " nack internal", " nack timeout more"] {
            assert!(parse(&format!("{id}{wrong}")).is_err(), "{wrong:?}");
        }
        assert_eq!(parse("7 ack").unwrap_err(), "\"7\" is not the id of an event");
    }
}
