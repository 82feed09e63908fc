//! What ties a request to its response, its versions and the broker it goes to.

use std::ops::RangeInclusive;

use crate::{messages::ApiKey, wire::Wire};

/// A request. `client.call(request)` gives its `Response`: the pair cannot be mixed up.
pub trait Api: Wire + Default {
    /// Its number.
    const KEY: ApiKey;
    /// Where a client sends it.
    const TO: Destination;
    /// What answers it.
    type Response: Wire + Default;
}

/// Which broker a request goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Whichever is at hand.
    Any,
    /// The one that the request is about.
    Broker,
    /// The leader of the partitions that the request is about.
    Leader,
    /// The active controller; a broker passes it on.
    Controller,
    /// The coordinator of the group.
    GroupCoordinator,
    /// The coordinator of the transactional id.
    TransactionCoordinator,
    /// The coordinator of the share group's state.
    ShareCoordinator,
}

impl ApiKey {
    /// Whether `version` is in the flexible encoding (KIP-482).
    pub fn is_flexible(self, version: i16) -> bool {
        self.flexible_from().is_some_and(|first| version >= first)
    }

    /// The version of the request's header: 2 has tagged fields.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response's header: 1 has tagged fields. The one of ApiVersions never has: a client
    /// must be able to read it before it knows the broker.
    pub fn response_header_version(self, version: i16) -> i16 {
        self.fixed_response_header().unwrap_or_else(|| i16::from(self.is_flexible(version)))
    }

    /// The newest version that both sides have, if there is one.
    pub fn newest_common(self, theirs: RangeInclusive<i16>) -> Option<i16> {
        let newest = self.latest_stable().min(*theirs.end());
        let oldest = (*self.versions().start()).max(*theirs.start());
        (newest >= oldest).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_follow_the_encoding_but_for_api_versions() {
        assert_eq!(ApiKey::Produce.request_header_version(8), 1);
        assert_eq!(ApiKey::Produce.request_header_version(9), 2);
        assert_eq!(ApiKey::Produce.response_header_version(9), 1);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        for version in ApiKey::ApiVersions.versions() {
            assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
        }
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1, "never flexible");
    }

    #[test]
    fn the_newest_common_version_is_stable() {
        assert_eq!(ApiKey::InitProducerId.versions(), 0..=6);
        assert_eq!(ApiKey::InitProducerId.newest_common(0..=9), Some(5), "6 may still change");
        assert_eq!(ApiKey::Fetch.newest_common(0..=11), Some(11));
        assert_eq!(ApiKey::Fetch.newest_common(0..=3), None);
    }
}
