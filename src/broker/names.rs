//! Topics by name: the list of hashes, whether a name or an identifier exists, and the topic that an identifier's text
//! means.

use std::{fmt::Write as _, sync::Arc};

use super::{
    access::{self, Operation},
    entry::{Availability, TopicEntry},
    error::{BrokerError, InvalidRequest},
    handle::Broker,
    page::{List, Page, PageRequest},
};
use crate::model::{NameHash, Principal, ProjectId, TopicId, Ulid};

/// Whether something exists, with the question in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existence {
    pub query: String,
    pub exists: bool,
}

impl Broker {
    /// A page of the topics of the caller's project, in the order of the hashes of their names. A caller without a
    /// project gets an empty page.
    pub fn topic_names(&self, principal: &Principal, page: &PageRequest) -> Result<Page<Arc<TopicEntry>>, BrokerError> {
        access::require(principal, Operation::TopicNames)?;
        let Some(project) = access::own_project(principal) else {
            return Ok(Page::empty());
        };
        let now = self.clock.now();
        let after = self.tokens.read(List::Names, project, &page.token, now)?.map(NameHash);
        let count = page.count();
        let mut items = self.directory.by_hash(project, after, count + 1);
        let more = items.len() > count;
        items.truncate(count);
        let next_token = match items.last() {
            Some(last) if more => self.tokens.issue(List::Names, project, last.hash().0, now),
            _ => String::new(),
        };
        Ok(Page { items, next_token })
    }

    /// Whether the project has a topic of this name, one of this identifier, or both, each looked at by itself.
    pub fn topic_exists(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
        id: &str,
    ) -> Result<Existence, BrokerError> {
        access::require(principal, Operation::TopicExists)?;
        let own = access::own_project(principal);
        let project = match project {
            "" => own.ok_or(InvalidRequest::MissingProject)?,
            text => ProjectId(Ulid::parse_lenient(text).map_err(|_| InvalidRequest::InvalidProject)?),
        };
        if own != Some(project) {
            return Err(BrokerError::NotAuthorized);
        }
        if name.is_empty() && id.is_empty() {
            return Err(InvalidRequest::MissingNameAndId.into());
        }
        let mut conditions = Vec::new();
        let mut exists = true;
        if !name.is_empty() {
            conditions.push(format!("name={}", quoted(name)));
            exists &= self.directory.named(project, name).is_some();
        }
        if !id.is_empty() {
            conditions.push(format!("topic={}", quoted(id)));
            let topic = Ulid::parse_lenient(id).ok().filter(|topic| !topic.is_zero());
            let topic = TopicId(topic.ok_or(InvalidRequest::InvalidTopic)?);
            let found = self.directory.get(project, topic);
            exists &= found.is_some_and(|entry| entry.availability() != Availability::Deleting);
        }
        Ok(Existence { query: conditions.join(" and "), exists })
    }

    /// The topic of the caller's project that the text of an identifier means.
    pub(super) fn entry(&self, principal: &Principal, id: &str) -> Result<Arc<TopicEntry>, BrokerError> {
        if id.trim().is_empty() {
            return Err(InvalidRequest::MissingId.into());
        }
        let id = TopicId(Ulid::parse_lenient(id).map_err(|_| InvalidRequest::InvalidId)?);
        let project = access::own_project(principal).ok_or(BrokerError::NotFound)?;
        self.directory.get(project, id).ok_or(BrokerError::NotFound)
    }
}

/// A text between double quotes with Go's escapes, which clients of this call compare with.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(character) => out.push(character),
            _ => escape(&mut out, u32::from(character)),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, number: u32) {
    let written = match number {
        0..0x80 => write!(out, "\\x{number:02x}"),
        0x80..0x1_0000 => write!(out, "\\u{number:04x}"),
        _ => write!(out, "\\U{number:08x}"),
    };
    written.expect("writing to a string cannot fail");
}

fn is_printable(character: char) -> bool {
    // A combining mark is escaped at the start of a text only, hence the letter before it.
    let pair = ['a', character];
    pair.iter().collect::<String>().escape_debug().skip(1).eq([character]) || character == '\''
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        let check = |text, expected: &str| assert_eq!(quoted(text), expected);
        check("plain.name-1", "\"plain.name-1\"");
        check("a \"quoted\"\n\u{e9} 'name' \\", "\"a \\\"quoted\\\"\\n\u{e9} 'name' \\\\\"");
        check("\x00\x07\x08\x0b\x0c\r\t\x1b\x7f", r#""\x00\a\b\v\f\r\t\x1b\x7f""#);
        check("\u{a0}\u{ad}\u{301}\u{200b}\u{e000}", "\"\\u00a0\\u00ad\u{301}\\u200b\\ue000\"");
        check("\u{1f600}\u{10ffff}", "\"\u{1f600}\\U0010ffff\"");
    }
}
