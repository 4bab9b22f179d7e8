//! What an ack promises of the event that it answers.

use std::fmt;

/// How safe an event is when it is acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// On stable storage: it survives a loss of power.
    #[default]
    Fsync,
    /// With the operating system: it survives the death of the process, not a loss of power.
    Os,
    /// In the process's memory: it survives nothing.
    Memory,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown durability {text:?}")]
pub struct UnknownDurability {
    text: String,
}

impl Durability {
    pub const ALL: [Durability; 3] = [Durability::Fsync, Durability::Os, Durability::Memory];

    /// The name in options, documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
            Durability::Memory => "memory",
        }
    }

    /// Whether an event may only be acked when the disk has it.
    pub const fn needs_sync(self) -> bool {
        matches!(self, Durability::Fsync)
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Durability, UnknownDurability> {
        let known = Durability::ALL.into_iter().find(|durability| durability.name() == text);
        known.ok_or_else(|| UnknownDurability { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for durability in Durability::ALL {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        assert_eq!("Fsync".parse::<Durability>().unwrap_err().to_string(), "unknown durability \"Fsync\"");
    }

    #[test]
    fn nobody_gets_less_who_does_not_ask() {
        assert_eq!(Durability::default(), Durability::Fsync);
        assert!(Durability::default().needs_sync());
    }
}
