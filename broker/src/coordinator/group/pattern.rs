//! Subscriptions by regular expression: which topics one stands for (KIP-848).

use ottla_protocol::types::Str;
use regex::bytes::{Regex, RegexBuilder};

use super::{Sees, topics::Topics};

/// Longest expression that is taken.
pub(super) const PATTERN_BYTES_MAX: usize = 32 * 1024;
/// Memory that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// How deep groups may lie in each other.
const NESTING_MAX: u32 = 100;

/// A regular expression in RE2's syntax, which has to match the whole of a topic's name.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// # Errors
    /// If it is no expression, or one that takes too much.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("it has {} bytes, of at most {PATTERN_BYTES_MAX}", text.len()));
        }
        // Names are ASCII, and so are RE2's classes.
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .unicode(false)
                .size_limit(COMPILED_BYTES_MAX)
                .nest_limit(NESTING_MAX)
                .build()
                .map_err(|error| error.to_string())
        };
        // By itself first: what only makes sense between the brackets below makes none.
        compile(text)?;
        compile(&format!(r"\A(?:{text})\z")).map(Self)
    }

    /// The names of the topics that it stands for, of those that somebody sees, in their order.
    pub(super) fn resolve(&self, topics: &dyn Topics, sees: &Sees) -> Vec<Str> {
        let matching = topics.names().filter(|name| self.0.is_match(name.as_bytes()));
        matching.filter(|name| sees.topic(name)).map(|name| name.0.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::topics::KnownTopics;
    use super::*;

    fn resolve(pattern: &str) -> Vec<String> {
        let topics = KnownTopics::of(&[("orders", 1), ("orders-eu", 1), ("bills", 1)]);
        Pattern::compile(pattern)
            .unwrap()
            .resolve(&topics, &Sees::default())
            .iter()
            .map(|name| name.to_string())
            .collect()
    }

    #[test]
    fn what_somebody_may_not_see_no_pattern_stands_for() {
        let topics = KnownTopics::of(&[("orders", 1), ("orders-eu", 1)]);
        let sees = Sees::by(|name| &**name != "orders");
        assert_eq!(Pattern::compile("orders.*").unwrap().resolve(&topics, &sees), ["orders-eu"]);
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert_eq!(resolve("orders"), ["orders"]);
        assert_eq!(resolve("orders.*"), ["orders", "orders-eu"]);
        assert_eq!(resolve("orders|bills"), ["bills", "orders"]);
        assert_eq!(resolve("(?i)BILLS"), ["bills"]);
        assert!(resolve("rder").is_empty());
        assert!(resolve("").is_empty());
    }

    #[test]
    fn what_is_no_pattern_or_too_much_is_refused() {
        assert!(Pattern::compile("(").is_err());
        assert!(Pattern::compile(")(").is_err());
        assert!(Pattern::compile("a{1000}{1000}{1000}").is_err());
        assert!(Pattern::compile(&"(".repeat(1000)).is_err());
        assert!(Pattern::compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }
}
