//! Consumer groups: subscribers that share a position in each topic, which the broker remembers.

mod ledger;

pub use ledger::Verdict;
