//! Topics by a pattern: a member of a classic group asks for all topics now and then, and reads those that match.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use ottla_protocol::{
    messages::MetadataRequest,
    types::{Str, TopicName},
};
use regex::bytes::{Regex, RegexBuilder};
use tokio::time::{Instant, sleep};

use crate::{
    cluster::Cluster,
    error::{Error, ErrorKind, Result},
};

/// Most bytes that a compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Which topics are read, by their whole names.
#[derive(Clone)]
pub(crate) struct Pattern {
    /// As the program wrote it.
    pub text: Str,
    regex: Regex,
    /// Leave out Kafka's own topics: `exclude.internal.topics`.
    exclude_internal: bool,
}

impl Pattern {
    /// Reads a regular expression of RE2's kind, which must match the whole of a name.
    pub(crate) fn new(text: &str, exclude_internal: bool) -> Result<Self> {
        let wrong = |error: regex::Error| {
            Error::new(ErrorKind::InvalidArgument, format!("`{text}` is no pattern of topics: {error}"))
                .hint("write a regular expression without look-around and back-references, as `orders-.*`")
                .caused_by(error)
        };
        // Alone first: what is put around must not mend it.
        build(text).map_err(wrong)?;
        let regex = build(&format!(r"\A(?:{text})\z")).map_err(wrong)?;
        Ok(Self { text: text.into(), regex, exclude_internal })
    }

    fn matches(&self, name: &TopicName, is_internal: bool) -> bool {
        !(is_internal && self.exclude_internal) && self.regex.is_match(name.as_bytes())
    }

    /// The topics that match now.
    pub(crate) async fn list(&self, cluster: &Cluster, deadline: Instant) -> Result<BTreeSet<TopicName>> {
        let all = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        let response = cluster.call_any(&all, deadline).await?;
        response.error_code.ok().map_err(|code| Error::broker(code, None).context("list topics"))?;
        let named = response.topics.into_iter().filter(|topic| !topic.error_code.is_error());
        let matching = named.filter_map(|topic| {
            let name = topic.name?;
            self.matches(&name, topic.is_internal).then(|| name.detached())
        });
        Ok(matching.collect())
    }

    /// Calls `tell` with the topics that match, whenever they are others than before; until it says that nobody listens.
    pub(crate) async fn watch(
        self,
        cluster: Arc<Cluster>,
        every: Duration,
        mut tell: impl FnMut(BTreeSet<TopicName>) -> bool,
    ) {
        let mut known = None;
        loop {
            let deadline = Instant::now() + cluster.config().request_timeout;
            let wait = match self.list(&cluster, deadline).await {
                Ok(listed) => {
                    if known.as_ref() != Some(&listed) {
                        known = Some(listed.clone());
                        if !tell(listed) {
                            return;
                        }
                    }
                    every
                }
                Err(error) => {
                    tracing::warn!(%error, pattern = ?self, "cannot look for the topics of the subscription");
                    cluster.backoff().most.min(every)
                }
            };
            sleep(wait).await;
        }
    }
}

fn build(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).size_limit(COMPILED_BYTES_MAX).build()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_and_leaves_out_what_is_kafkas_own() {
        let pattern = Pattern::new("orders|pay.*", true).unwrap();
        let matches = |name: &str, is_internal| pattern.matches(&name.into(), is_internal);
        assert!(matches("orders", false) && matches("payments-1", false));
        assert!(!matches("orders-1", false) && !matches("old-orders", false));
        assert!(!matches("pay", true) && Pattern::new(".*", false).unwrap().matches(&"pay".into(), true));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_do() {
        for text in ["a(", "a)(b", "(?=a)", "a{1000}{1000}"] {
            let error = Pattern::new(text, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains("write a regular expression"), "{error}");
        }
    }
}
