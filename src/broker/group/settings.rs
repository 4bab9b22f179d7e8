//! How a group works: what a member asks for, what is in effect, and what of it may be asked for at all.
//!
//! Invariant: [`Terms`] hold values that are within their limits, whoever made them.

use std::time::Duration;

use crate::{
    broker::{BrokerError, InvalidRequest},
    model::{DeliverySemantic, NameError, TopicName},
};

/// How long an event is leased when nobody says.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// The longest time that an event may be leased.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// How many events may lie between the lowest that is not settled and the furthest that was handed out.
const WINDOW_DEFAULT: u32 = 65_536;

/// What the window may be.
const WINDOW: std::ops::RangeInclusive<u32> = 16..=1_000_000;

/// How a member wants its group to work; what is `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSettings {
    pub delivery: Option<DeliverySemantic>,
    /// How long a member may take for an event before another gets it.
    pub timeout: Option<Duration>,
    /// Whether events with equal keys go to one member at a time, in order.
    pub ordered_by_key: Option<bool>,
    /// How often an event is delivered before it is put away; 0: as often as it takes.
    pub max_deliveries: Option<u32>,
    /// The topic that such events go to; empty: the topic's own name with `.dead-letter` behind it.
    pub dead_letter: Option<String>,
    pub window: Option<u32>,
}

/// The settings that are in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub delivery: DeliverySemantic,
    pub timeout: Duration,
    pub ordered_by_key: bool,
    /// 0: as often as it takes.
    pub max_deliveries: u32,
    /// `None`: the topic's own name with `.dead-letter` behind it.
    pub dead_letter: Option<TopicName>,
    pub window: u32,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            delivery: DeliverySemantic::AtMostOnce,
            timeout: TIMEOUT_DEFAULT,
            ordered_by_key: false,
            max_deliveries: 0,
            dead_letter: None,
            window: WINDOW_DEFAULT,
        }
    }
}

impl GroupSettings {
    /// What these settings make of what is in effect.
    ///
    /// # Errors
    ///
    /// When a value is outside of its limits.
    pub(super) fn over(&self, terms: &Terms) -> Result<Terms, InvalidRequest> {
        let timeout = self.timeout.unwrap_or(terms.timeout);
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(InvalidRequest::GroupTimeout);
        }
        let window = self.window.unwrap_or(terms.window);
        if !WINDOW.contains(&window) {
            return Err(InvalidRequest::GroupWindow(window));
        }
        let dead_letter = match self.dead_letter.as_deref() {
            None => terms.dead_letter.clone(),
            Some("") => None,
            Some(name) => Some(TopicName::parse(name).map_err(InvalidRequest::DeadLetterTopic)?),
        };
        Ok(Terms {
            delivery: self.delivery.unwrap_or(terms.delivery),
            timeout,
            ordered_by_key: self.ordered_by_key.unwrap_or(terms.ordered_by_key),
            max_deliveries: self.max_deliveries.unwrap_or(terms.max_deliveries),
            dead_letter,
            window,
        })
    }
}

/// What the name of a dead-letter topic ends with, when nobody names another.
const DEAD_LETTER_SUFFIX: &str = ".dead-letter";

impl Terms {
    /// The topic that the events of another go to when they are put away.
    pub(super) fn dead_letter_of(&self, topic: &TopicName) -> Result<TopicName, NameError> {
        match &self.dead_letter {
            Some(name) => Ok(name.clone()),
            None => TopicName::parse(&format!("{topic}{DEAD_LETTER_SUFFIX}")),
        }
    }

    /// Whether a topic is one that events are put away to. A group that has all topics leaves these out, so that an event
    /// that was put away does not come again.
    pub(super) fn is_dead_letter(&self, topic: &TopicName) -> bool {
        self.max_deliveries > 0
            && match &self.dead_letter {
                Some(name) => name == topic,
                None => topic.as_str().ends_with(DEAD_LETTER_SUFFIX),
            }
    }

    /// Says in which setting others differ, and what is in effect.
    ///
    /// # Errors
    ///
    /// When one differs.
    pub(super) fn require_equal(&self, wanted: &Terms) -> Result<(), BrokerError> {
        let text = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let dead_letter = |terms: &Terms| match &terms.dead_letter {
            Some(name) => name.to_string(),
            None => "the topic's name with .dead-letter".to_owned(),
        };
        let limit = |terms: &Terms| match terms.max_deliveries {
            0 => "off".to_owned(),
            count => count.to_string(),
        };
        let differing = [
            ("delivery", self.delivery.to_string(), wanted.delivery.to_string()),
            ("delivery timeout", format!("{:?}", self.timeout), format!("{:?}", wanted.timeout)),
            ("ordered by key", text(self.ordered_by_key), text(wanted.ordered_by_key)),
            ("max deliveries", limit(self), limit(wanted)),
            ("dead-letter topic", dead_letter(self), dead_letter(wanted)),
            ("window", self.window.to_string(), wanted.window.to_string()),
        ];
        match differing.into_iter().find(|(_, has, wanted)| has != wanted) {
            Some((setting, has, wanted)) => Err(BrokerError::GroupSettings { setting, has, wanted }),
            None => Ok(()),
        }
    }
}
