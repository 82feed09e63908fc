//! Which configuration holds for a group, and what it may be set to.
//!
//! A broker's keys are the bounds of what its groups may set: `group.consumer.min.session.timeout.ms` and the like.

use std::sync::Arc;

use ottla_config::{Key, Source, Values};

use super::{ConfigEntry, Configs, Synonym, over, source, text};
use crate::{
    config::{GROUP, GroupConfig},
    metadata::image::{Image, Settings},
};

/// What groups have that set nothing of their own, and what they may set.
#[derive(Debug)]
pub(crate) struct GroupDefaults {
    inherited: Values,
    config: GroupConfig,
    broker: Values,
}

impl Configs {
    /// What groups have that set nothing of their own.
    pub(crate) fn group_defaults(&self, image: &Image) -> GroupDefaults {
        let broker = self.broker(image);
        let inherited = GROUP.inherit(&broker).or_else(|errors| {
            tracing::warn!(%errors, "brokers' changed configuration does not fit groups any more; it is passed over");
            GROUP.inherit(&self.fixed)
        });
        let inherited = inherited.unwrap_or_else(|_| GROUP.defaults());
        let config = GroupConfig::from_values(&inherited);
        GroupDefaults { inherited, config, broker }
    }

    /// Every key of a group with its value, for a group that sets `own`.
    pub(crate) fn describe_group(&self, image: &Image, own: &Settings) -> Vec<ConfigEntry> {
        let values = over(&self.group_defaults(image).inherited, own, &Source::DynamicGroup);
        let entry = |key: &'static Key| {
            let value = text(key, &values);
            let mut synonyms = Vec::new();
            if own.contains_key(key.name.as_bytes()) {
                synonyms.push(Synonym { name: key.name, value: value.clone(), source: source::GROUP });
            }
            let names: Vec<_> = key.synonyms.iter().map(|synonym| synonym.name).collect();
            self.broker_synonyms(image, &names, key.is_sensitive(), &mut synonyms);
            // A key that stands alone is told with its own default, unlike a topic's.
            if let (true, Some(default)) = (names.is_empty(), key.default) {
                let value = Some(default.to_owned());
                synonyms.push(Synonym { name: key.name, value, source: source::DEFAULT });
            }
            ConfigEntry { name: key.name, key, value, read_only: false, synonyms }
        };
        values.iter().map(|(key, ..)| entry(key)).collect()
    }
}

impl GroupDefaults {
    /// The configuration of a group that sets `own`. What it set before the bounds were others counts as the nearest
    /// of them (`GroupConfig.evaluate`).
    pub(crate) fn group(&self, own: Option<&Arc<Settings>>) -> GroupConfig {
        let Some(own) = own else { return self.config.clone() };
        let mut bounded = Settings::clone(own);
        for bound in &GROUP_BOUNDS {
            let Some(text) = bounded.get_mut(bound.key.as_bytes()) else { continue };
            let Ok(number) = text.trim().parse::<i64>() else { continue };
            let (min, max) = bound.of(&self.broker);
            *text = number.max(min).min(max).to_string().into();
        }
        GroupConfig::from_values(&over(&self.inherited, &bounded, &Source::DynamicGroup))
    }

    /// What of `own` a group cannot be set to, its values being such as their keys take (`GroupConfig.validate`).
    pub(crate) fn check(&self, own: &Settings) -> Result<(), String> {
        for bound in &GROUP_BOUNDS {
            if let Some(text) = own.get(bound.key.as_bytes()) {
                bound.check(bound.key, text, &self.broker)?;
            }
        }
        let values = over(&self.inherited, own, &Source::DynamicGroup);
        for [session, heartbeat] in SESSIONS_AND_HEARTBEATS {
            let is_set = [session, heartbeat].iter().any(|key| own.contains_key(key.as_bytes()));
            let (most, least) = (number(&values, session), number(&values, heartbeat));
            if let (true, Some(most), Some(least)) = (is_set && most <= least, most, least) {
                return Err(format!(
                    "`{session}` is `{most}`, and `{heartbeat}` is `{least}`; the first must be more than the second"
                ));
            }
        }
        Ok(())
    }
}

/// A group's key that has bounds, and the broker's keys that are the bounds.
struct Bound {
    key: &'static str,
    min: Option<&'static str>,
    max: Option<&'static str>,
}

const fn bound(key: &'static str, min: &'static str, max: &'static str) -> Bound {
    Bound { key, min: Some(min), max: Some(max) }
}

/// All bounds that Kafka has for groups (`GroupConfig.validateValues`).
const GROUP_BOUNDS: [Bound; 15] = [
    bound(
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    bound(
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    bound(
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    bound(
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    bound(
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    bound(
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    bound(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    bound(
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    bound(
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    bound(
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
    bound(
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    bound(
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
    Bound { key: "streams.num.standby.replicas", min: None, max: Some("group.streams.max.standby.replicas") },
    Bound { key: "streams.num.warmup.replicas", min: None, max: Some("group.streams.max.warmup.replicas") },
    Bound {
        key: "streams.task.offset.interval.ms",
        min: Some("group.streams.min.task.offset.interval.ms"),
        max: None,
    },
];

/// Of each of these pairs the first must be more than the second: who is heard of less often than it may be silent
/// is taken for dead.
const SESSIONS_AND_HEARTBEATS: [[&str; 2]; 3] = [
    ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"],
    ["share.session.timeout.ms", "share.heartbeat.interval.ms"],
    ["streams.session.timeout.ms", "streams.heartbeat.interval.ms"],
];

impl Bound {
    /// The least and the most.
    fn of(&self, broker: &Values) -> (i64, i64) {
        let number = |name: Option<&str>| name.and_then(|name| number(broker, name));
        (number(self.min).unwrap_or(i64::MIN), number(self.max).unwrap_or(i64::MAX))
    }

    /// Whether a value is within the bounds; `name` is what it is the value of.
    fn check(&self, name: &str, text: &str, broker: &Values) -> Result<(), String> {
        let Ok(number) = text.trim().parse::<i64>() else { return Ok(()) };
        let (least, most) = self.of(broker);
        match (self.min, self.max) {
            (Some(min), _) if number < least => {
                Err(format!("`{name}` is `{number}`, less than `{min}`, `{least}`; give no less"))
            }
            (_, Some(max)) if number > most => {
                Err(format!("`{name}` is `{number}`, more than `{max}`, `{most}`; give no more"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the values that a broker sets, and groups take over, are within the broker's own bounds for groups.
pub(crate) fn check_group_bounds(broker: &Values, set: &Settings) -> Result<(), String> {
    for bound in &GROUP_BOUNDS {
        let synonyms = GROUP.keys().filter(|key| key.name == bound.key).flat_map(|key| key.synonyms);
        for synonym in synonyms {
            if let Some(text) = set.get(synonym.name.as_bytes()) {
                bound.check(synonym.name, text, broker)?;
            }
        }
    }
    Ok(())
}

fn number(values: &Values, name: &str) -> Option<i64> {
    values.value(name).to_text()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        messages::metadata_log::config_record::ConfigRecord,
        types::{BrokerId, GroupId, Str},
    };

    use super::*;
    use crate::{config::BROKER, metadata::image::resource};

    fn configs(text: &str) -> Configs {
        let mut settings = ottla_config::Settings::new();
        settings.properties("server.properties", text.as_bytes());
        Configs::new(BrokerId(1), BROKER.parse(&settings).unwrap()).unwrap()
    }

    /// What was set, by type and name of the resource.
    fn image(set: &[(i8, &str, &str, &str)]) -> Image {
        let record = |&(resource_type, resource, name, value): &(i8, &str, &str, &str)| {
            let value = Some(Str::from(value));
            ConfigRecord { resource_type, resource_name: resource.into(), name: name.into(), value }.into()
        };
        let records: Vec<_> = set.iter().map(record).collect();
        Image::new("c".into()).apply(&records, 1).unwrap()
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    }

    const SESSION: &str = "consumer.session.timeout.ms";
    const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
    const ASSIGNMENT: &str = "consumer.assignment.interval.ms";
    const OF_BROKER: &str = "group.consumer.assignment.interval.ms";

    #[test]
    fn a_groups_value_goes_over_the_brokers_over_all_brokers_over_the_files_over_the_default() {
        let configs = configs("group.consumer.assignment.interval.ms=2000");
        let all = [
            (resource::BROKER, "", OF_BROKER, "3000"),
            (resource::BROKER, "1", OF_BROKER, "4000"),
            (resource::GROUP, "g", ASSIGNMENT, "5000"),
        ];
        let value = |count: usize| {
            let image = image(&all[..count]);
            let own = image.group_settings(&GroupId::from("g"));
            let config = configs.group_defaults(&image).group(own);
            config.consumer_assignment_interval.as_millis()
        };
        assert_eq!([0, 1, 2, 3].map(value), [2000, 3000, 4000, 5000]);

        let image = image(&all);
        let own = image.group_settings(&GroupId::from("g")).unwrap();
        let entries = configs.describe_group(&image, own);
        assert_eq!(entries.len(), GROUP.keys().count());
        let entry = entries.iter().find(|entry| entry.name == ASSIGNMENT).unwrap();
        let places: Vec<_> =
            entry.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap(), s.source)).collect();
        assert_eq!(
            places,
            [
                (ASSIGNMENT, "5000", source::GROUP),
                (OF_BROKER, "4000", source::BROKER),
                (OF_BROKER, "3000", source::ALL_BROKERS),
                (OF_BROKER, "2000", source::STATIC),
                (OF_BROKER, "1000", source::DEFAULT),
            ]
        );
        let alone = entries.iter().find(|entry| entry.name == "share.auto.offset.reset").unwrap();
        assert_eq!((alone.synonyms[0].name, alone.source()), ("share.auto.offset.reset", source::DEFAULT));
    }

    #[test]
    fn what_is_out_of_its_brokers_bounds_is_refused_with_the_bound() {
        let configs = configs("");
        let check = |pairs: &[(&str, &str)]| {
            configs.group_defaults(&image(&[])).check(&settings(pairs)).err().unwrap_or_default()
        };
        assert_eq!(check(&[(SESSION, "50000"), (HEARTBEAT, "6000"), (ASSIGNMENT, "0")]), "");
        assert_eq!(
            check(&[(SESSION, "44999")]),
            "`consumer.session.timeout.ms` is `44999`, less than `group.consumer.min.session.timeout.ms`, `45000`; give no less"
        );
        assert_eq!(
            check(&[(HEARTBEAT, "15001")]),
            "`consumer.heartbeat.interval.ms` is `15001`, more than `group.consumer.max.heartbeat.interval.ms`, `15000`; give no more"
        );
        assert!(
            check(&[("streams.num.standby.replicas", "3")]).contains("group.streams.max.standby.replicas")
        );
        assert!(
            check(&[("share.delivery.count.limit", "11")]).contains("group.share.max.delivery.count.limit")
        );
    }

    #[test]
    fn a_session_is_longer_than_the_time_between_two_heartbeats() {
        let configs =
            configs("group.consumer.min.session.timeout.ms=1\ngroup.consumer.session.timeout.ms=9000");
        let check = |pairs: &[(&str, &str)]| configs.group_defaults(&image(&[])).check(&settings(pairs));
        assert_eq!(
            check(&[(SESSION, "5000")]).unwrap_err(),
            "`consumer.session.timeout.ms` is `5000`, and `consumer.heartbeat.interval.ms` is `5000`; the first must be more than the second"
        );
        assert!(check(&[(HEARTBEAT, "9000")]).is_err(), "the broker's session timeout holds");
        assert_eq!(check(&[(SESSION, "5001")]), Ok(()));
    }

    #[test]
    fn what_was_set_before_the_bounds_were_others_counts_as_the_nearest_of_them() {
        let configs = configs("group.consumer.max.session.timeout.ms=50000");
        let image =
            image(&[(resource::GROUP, "g", SESSION, "59000"), (resource::GROUP, "g", HEARTBEAT, "x")]);
        let group = configs.group_defaults(&image).group(image.group_settings(&GroupId::from("g")));
        assert_eq!(group.consumer_session_timeout.as_millis(), 50_000);
        assert_eq!(group.consumer_heartbeat_interval.as_millis(), 5000, "a value of another release");
    }

    #[test]
    fn every_bound_is_of_a_key_and_lies_in_a_key() {
        for bound in &GROUP_BOUNDS {
            assert!(GROUP.key(bound.key).is_some(), "{}", bound.key);
            for name in bound.min.iter().chain(&bound.max) {
                assert!(BROKER.key(name).is_some(), "{name}");
            }
        }
    }
}
