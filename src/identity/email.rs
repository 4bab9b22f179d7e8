//! Addresses of electronic mail.

use super::AccountError;

/// The longest address that mail can be sent to, in bytes (RFC 5321).
const BYTES_MAX: usize = 254;

/// The longest part before the `@`, in bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// An address as it was written, without the space around it. Two are the same when they differ in letter case alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Email(String);

impl Email {
    /// Reads an address. Refuses what no mail could be sent to, and what would have to be quoted.
    pub(super) fn parse(text: &str) -> Result<Email, AccountError> {
        let text = text.trim();
        let parts = text.split_once('@').filter(|(local, domain)| {
            text.len() <= BYTES_MAX && local.len() <= LOCAL_BYTES_MAX && is_dotted(local) && is_domain(domain)
        });
        match parts {
            Some(_) => Ok(Email(text.to_owned())),
            None => Err(AccountError::Invalid { field: "email" }),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which addresses compare.
    pub(super) fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

/// The form in which an address compares, whether or not it is one.
pub(super) fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Words of visible characters that need no quotes, with dots between them.
fn is_dotted(local: &str) -> bool {
    let plain = |character: char| character.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character);
    local.split('.').all(|word| !word.is_empty() && word.chars().all(plain))
}

fn is_domain(domain: &str) -> bool {
    let plain = |character: char| character.is_alphanumeric() || character == '-';
    let label =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(plain);
    domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["a@b", "dev@localhost", " Ann.O'Neil+x@Mail.Example.com\n", "jörg@bücher.example"] {
            assert_eq!(Email::parse(good).unwrap().as_str(), good.trim());
        }
        let (long_local, long) = (format!("{}@b.c", "a".repeat(65)), format!("a@{}.c", "b".repeat(252)));
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a@b c",
            "a@b..c",
            ".a@b",
            "a.@b",
            "a@-b",
            "a\r\nTo: x@b",
            "a@b>",
            "\"a b\"@c",
            &long_local,
            &long,
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn letter_case_and_space_around_do_not_matter() {
        assert_eq!(Email::parse(" Ann@Example.COM ").unwrap().folded(), "ann@example.com");
        assert_eq!(folded(" ANN@example.com"), folded("ann@Example.com "));
    }
}
