//! Which configuration holds: of a topic or group its own values, then its broker's, then the default.
//!
//! A broker's values come from what was set while it runs, for it alone or for all, then from what it was started
//! with, then from the table. A topic's or group's key names the broker's keys that stand in for it, its synonyms
//! (`ServerTopicConfigSynonyms`, `GroupConfig`). [`Configs`] answers both what holds and, for DescribeConfigs, where it
//! came from.

mod groups;

use std::sync::Arc;

use ottla_config::{ConfigErrors, Effect, Key, Setting, Source, Table, Type, Update, Values};
use ottla_protocol::types::{BrokerId, Str, TopicName};

pub(crate) use self::groups::{GroupDefaults, check_group_bounds};
use super::image::{DEFAULT_BROKER, Image, Settings};
use crate::config::{BROKER, GROUP, TOPIC, TopicConfig};

/// The configuration that a broker was started with, and the rules by which changes go over it.
#[derive(Debug)]
pub(crate) struct Configs {
    /// This broker's id, under which its own values are kept.
    node: String,
    fixed: Values,
}

/// What topics have that set nothing of their own.
#[derive(Debug)]
pub(crate) struct TopicDefaults {
    inherited: Values,
    config: Arc<TopicConfig>,
}

impl Configs {
    /// Goes by `fixed`, what the broker of id `node` was started with. Fails if a topic or
    /// group could not take its values.
    pub(crate) fn new(node: BrokerId, fixed: Values) -> Result<Self, ConfigErrors> {
        TOPIC.inherit(&fixed)?;
        GROUP.inherit(&fixed)?;
        Ok(Self { node: node.to_string(), fixed })
    }

    /// The name of this broker as a resource: its id.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// What topics have that set nothing of their own.
    pub(crate) fn topic_defaults(&self, image: &Image) -> TopicDefaults {
        let inherited = TOPIC.inherit(&self.broker(image)).or_else(|errors| {
            // Changes are checked before they are stored; an older release may have had other ranges.
            tracing::warn!(%errors, "brokers' changed configuration does not fit topics any more; it is passed over");
            TOPIC.inherit(&self.fixed)
        });
        // `new` has tried the second.
        let inherited = inherited.unwrap_or_else(|_| TOPIC.defaults());
        let config = Arc::new(TopicConfig::from_values(&inherited));
        TopicDefaults { inherited, config }
    }

    /// Every key of a topic with its value, for a topic that sets `own`.
    pub(crate) fn describe_topic(&self, image: &Image, own: &Settings) -> Vec<ConfigEntry> {
        self.describe_topic_over(&self.topic_defaults(image), image, own)
    }

    /// As [`Self::describe_topic`], for many topics.
    pub(crate) fn describe_topic_over(
        &self,
        defaults: &TopicDefaults,
        image: &Image,
        own: &Settings,
    ) -> Vec<ConfigEntry> {
        let values = defaults.values(own);
        let entry = |key: &'static Key| {
            let value = text(key, &values);
            let mut synonyms = Vec::new();
            if own.contains_key(key.name.as_bytes()) {
                synonyms.push(Synonym { name: key.name, value: value.clone(), source: source::TOPIC });
            }
            let names: Vec<_> = key.synonyms.iter().map(|synonym| synonym.name).collect();
            self.broker_synonyms(image, &names, key.is_sensitive(), &mut synonyms);
            ConfigEntry { name: key.name, key, value, read_only: false, synonyms }
        };
        values.iter().map(|(key, ..)| entry(key)).collect()
    }

    /// Every key of this broker with its value.
    pub(crate) fn describe_broker(&self, image: &Image) -> Vec<ConfigEntry> {
        let values = self.broker(image);
        let entry = |key: &'static Key| {
            let mut synonyms = Vec::new();
            self.broker_synonyms(image, &family(key.name), key.is_sensitive(), &mut synonyms);
            let value = text(key, &values);
            ConfigEntry { name: key.name, key, value, read_only: !is_dynamic(key), synonyms }
        };
        // Kafka 4 still tells the id under its old name too, and tools look there.
        let broker_id = BROKER.key(BROKER_ID).map(|key| ConfigEntry {
            name: BROKER_ID,
            synonyms: Vec::new(),
            ..entry(key)
        });
        values.iter().map(|(key, ..)| entry(key)).chain(broker_id).collect()
    }

    /// What was set for all brokers, and nothing else.
    pub(crate) fn describe_all_brokers(&self, image: &Image) -> Vec<ConfigEntry> {
        let Some(set) = image.broker_settings(DEFAULT_BROKER) else { return Vec::new() };
        let entry = |(name, value): (&Str, &Str)| {
            let key = exact_key(&BROKER, name)?;
            let value = (!key.is_sensitive()).then(|| value.to_string());
            let synonym = Synonym { name: key.name, value: value.clone(), source: source::ALL_BROKERS };
            let (name, read_only) = (key.name, !is_dynamic(key));
            Some(ConfigEntry { name, key, value, read_only, synonyms: vec![synonym] })
        };
        set.iter().filter_map(entry).collect()
    }

    /// The broker's values with what was set while it runs. `changed` stands in for what the image has of one
    /// resource: the values to be tried.
    pub(crate) fn broker_with(&self, image: &Image, resource: &str, changed: &Settings) -> Values {
        let pick = |name: &str| match name == resource {
            true => changed.clone(),
            false => image.broker_settings(name).map(|set| Settings::clone(set)).unwrap_or_default(),
        };
        let all = over(&self.fixed, &pick(DEFAULT_BROKER), &Source::DynamicDefaultBroker);
        over(&all, &pick(&self.node), &Source::DynamicBroker)
    }

    fn broker(&self, image: &Image) -> Values {
        let mut values = self.fixed.clone();
        let resources = [(DEFAULT_BROKER, Source::DynamicDefaultBroker), (&self.node, Source::DynamicBroker)];
        for (resource, source) in resources {
            if let Some(set) = image.broker_settings(resource) {
                values = over(&values, set, &source);
            }
        }
        values
    }

    /// Where the keys `names` are set, in the order in which Kafka looks: this broker, all brokers, what it was
    /// started with, the default.
    fn broker_synonyms(
        &self,
        image: &Image,
        names: &[&'static str],
        sensitive: bool,
        synonyms: &mut Vec<Synonym>,
    ) {
        let mut push = |name, value: Option<String>, source| {
            synonyms.push(Synonym { name, value: value.filter(|_| !sensitive), source });
        };
        for (resource, source) in [(&*self.node, source::BROKER), (DEFAULT_BROKER, source::ALL_BROKERS)] {
            let Some(set) = image.broker_settings(resource) else { continue };
            for &name in names {
                if let Some(value) = set.get(name.as_bytes()) {
                    push(name, Some(value.to_string()), source);
                }
            }
        }
        let keys = || names.iter().filter_map(|name| BROKER.key(name));
        for key in keys().filter(|key| *self.fixed.source(key.name) != Source::Default) {
            push(key.name, text(key, &self.fixed), source::STATIC);
        }
        for key in keys().filter(|key| key.default.is_some()) {
            push(key.name, key.default.map(str::to_owned), source::DEFAULT);
        }
    }
}

impl TopicDefaults {
    /// The configuration of a topic that sets `own`.
    pub(crate) fn topic(&self, own: Option<&Arc<Settings>>) -> Arc<TopicConfig> {
        match own {
            None => Arc::clone(&self.config),
            Some(own) => Arc::new(TopicConfig::from_values(&self.values(own))),
        }
    }

    /// As [`Self::topic`], of the topic `name` of an image.
    pub(crate) fn topic_of(&self, image: &Image, name: &TopicName) -> Arc<TopicConfig> {
        self.topic(image.topic_settings(name))
    }

    fn values(&self, own: &Settings) -> Values {
        if own.is_empty() {
            self.inherited.clone()
        } else {
            over(&self.inherited, own, &Source::DynamicTopic)
        }
    }
}

/// One key as it is described.
#[derive(Debug)]
pub(crate) struct ConfigEntry {
    /// The name that it is told under.
    pub(crate) name: &'static str,
    /// The key.
    pub(crate) key: &'static Key,
    /// The value that holds; `None` for null and for what must not be shown.
    pub(crate) value: Option<String>,
    /// Whether it cannot be changed while the broker runs.
    pub(crate) read_only: bool,
    /// Where it is set, the first being what holds; empty if it is the default and no other key stands in for it.
    pub(crate) synonyms: Vec<Synonym>,
}

/// A place where a key, or one that stands in for it, is set.
#[derive(Debug)]
pub(crate) struct Synonym {
    /// The key there.
    pub(crate) name: &'static str,
    /// Its value there.
    pub(crate) value: Option<String>,
    /// What place that is: one of [`source`].
    pub(crate) source: i8,
}

impl ConfigEntry {
    /// Where the value that holds came from: one of [`source`].
    pub(crate) fn source(&self) -> i8 {
        self.synonyms.first().map_or(source::DEFAULT, |synonym| synonym.source)
    }

    /// The number of its type (`DescribeConfigsResponse.ConfigType`).
    pub(crate) fn type_number(&self) -> i8 {
        match self.key.kind {
            Type::Bool => 1,
            Type::String | Type::Enum(_) => 2,
            Type::I32 | Type::Millis32 | Type::Bytes32 => 3,
            Type::I16 => 4,
            Type::I64 | Type::Millis64 | Type::Bytes64 => 5,
            Type::F64 => 6,
            Type::List | Type::ListOf(_) => 7,
            Type::Class => 8,
            Type::Password => 9,
        }
    }

    /// What it means, and whether it does anything here.
    pub(crate) fn documentation(&self) -> String {
        match self.key.effect {
            Effect::Applied => self.key.doc.to_owned(),
            Effect::Known { why } => format!("{} (no effect here: {why})", self.key.doc),
        }
    }
}

/// Where a value came from (`DescribeConfigsResponse.ConfigSource`).
pub(crate) mod source {
    /// Set for the topic.
    pub(crate) const TOPIC: i8 = 1;
    /// Set for this broker while it runs.
    pub(crate) const BROKER: i8 = 2;
    /// Set for all brokers while they run.
    pub(crate) const ALL_BROKERS: i8 = 3;
    /// Given at the start.
    pub(crate) const STATIC: i8 = 4;
    /// Nowhere set.
    pub(crate) const DEFAULT: i8 = 5;
    /// Set for the group.
    pub(crate) const GROUP: i8 = 8;
}

/// The name of `node.id` before KRaft.
const BROKER_ID: &str = "broker.id";

/// The key of exactly this name. Kafka's tools do not know snake case or other clients' aliases, and what is stored
/// under one name must be found under it.
pub(crate) fn exact_key(table: &'static Table, name: &str) -> Option<&'static Key> {
    table.keys().find(|key| key.name == name)
}

/// Whether a broker's key can be changed while it runs: so far only those that topics or groups take over, since
/// whoever applies their configuration hears of changes.
pub(crate) fn is_dynamic(key: &Key) -> bool {
    let stands_in = |table: &Table| table.keys().any(|it| it.synonyms.iter().any(|s| s.name == key.name));
    key.update != Update::ReadOnly
        && (stands_in(&TOPIC) || (stands_in(&GROUP) && key.effect == Effect::Applied))
}

/// The names under which one thing can be set, the first that is set counting: `log.retention.ms`, `.minutes`,
/// `.hours`.
fn family(name: &'static str) -> Vec<&'static str> {
    let mut of_topics = TOPIC.keys().map(|key| key.synonyms).filter(|synonyms| synonyms.len() > 1);
    let family = of_topics.find(|synonyms| synonyms.iter().any(|synonym| synonym.name == name));
    family.map_or_else(|| vec![name], |synonyms| synonyms.iter().map(|synonym| synonym.name).collect())
}

fn text(key: &Key, values: &Values) -> Option<String> {
    values.value(key.name).to_text()
}

/// `set` over `base`. A value that its key refuses, or a key that is not there, is passed over: it was stored by
/// another release.
fn over(base: &Values, set: &Settings, source: &Source) -> Values {
    let mut settings = ottla_config::Settings::new();
    for (name, value) in set {
        match exact_key(base.table(), name).map(|key| key.validate(value)) {
            Some(Ok(_)) => {
                let (key, value) = (name.to_string(), value.to_string());
                settings.add(Setting { key, value, source: source.clone() });
            }
            Some(Err(invalid)) => {
                tracing::warn!(key = %name, %invalid, "a stored configuration value is passed over")
            }
            None => tracing::warn!(key = %name, "a stored configuration key is not known to this release"),
        }
    }
    base.table().parse_over(base, &settings).unwrap_or_else(|errors| {
        tracing::warn!(%errors, "stored configuration is passed over");
        base.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(text: &str) -> Configs {
        let mut settings = ottla_config::Settings::new();
        settings.properties("server.properties", text.as_bytes());
        Configs::new(BrokerId(1), BROKER.parse(&settings).unwrap()).unwrap()
    }

    fn image(broker: &[(&str, &str, &str)]) -> Image {
        use ottla_protocol::messages::metadata_log::config_record::ConfigRecord;
        let record = |&(resource, name, value): &(&str, &str, &str)| {
            let value = Some(Str::from(value));
            let (resource_name, name) = (resource.into(), name.into());
            ConfigRecord { resource_type: 4, resource_name, name, value }.into()
        };
        let records: Vec<_> = broker.iter().map(record).collect();
        Image::new("c".into()).apply(&records, 1).unwrap()
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect()
    }

    fn entry<'a>(entries: &'a [ConfigEntry], name: &str) -> &'a ConfigEntry {
        entries.iter().find(|e| e.key.name == name).unwrap()
    }

    fn places(entry: &ConfigEntry) -> Vec<(&str, &str, i8)> {
        entry.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap_or("-"), s.source)).collect()
    }

    #[test]
    fn a_topics_value_goes_over_the_brokers_over_all_brokers_over_the_files_over_the_default() {
        let configs = configs("log.segment.bytes=2000000");
        let key = "segment.bytes";
        let all = [("", "log.segment.bytes", "3000000"), ("1", "log.segment.bytes", "4000000")];
        let own = settings(&[(key, "5000000")]);
        let value = |image: &Image, own: Option<&Settings>| {
            configs.topic_defaults(image).topic(own.cloned().map(Arc::new).as_ref()).segment_bytes
        };
        assert_eq!(value(&image(&[]), None), 2_000_000);
        assert_eq!(value(&image(&all[..1]), None), 3_000_000);
        assert_eq!(value(&image(&all), None), 4_000_000);
        assert_eq!(value(&image(&all), Some(&own)), 5_000_000);
        assert_eq!(
            value(&image(&[("2", "log.segment.bytes", "3000000")]), None),
            2_000_000,
            "another broker's"
        );

        let entries = configs.describe_topic(&image(&all), &own);
        let described = entry(&entries, key);
        assert_eq!(
            (described.source(), described.read_only, described.type_number()),
            (source::TOPIC, false, 3)
        );
        assert_eq!(
            places(described),
            [
                (key, "5000000", 1),
                ("log.segment.bytes", "4000000", 2),
                ("log.segment.bytes", "3000000", 3),
                ("log.segment.bytes", "2000000", 4),
                ("log.segment.bytes", "1073741824", 5),
            ]
        );
    }

    #[test]
    fn a_duration_in_hours_stands_in_for_one_in_milliseconds() {
        let configs = configs("log.retention.hours=2");
        let entries = configs.describe_topic(&image(&[]), &Settings::new());
        let retention = entry(&entries, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("7200000"));
        assert_eq!(places(retention), [("log.retention.hours", "2", 4), ("log.retention.hours", "168", 5)]);
        let minutes = image(&[("", "log.retention.ms", "5")]);
        let entries = configs.describe_broker(&minutes);
        assert_eq!(entry(&entries, "log.retention.ms").value.as_deref(), Some("5"));
        assert_eq!(entry(&entries, "log.retention.hours").source(), source::ALL_BROKERS);
    }

    #[test]
    fn every_key_is_described_and_says_whether_it_can_be_changed() {
        let configs = configs("node.id=1");
        let entries = configs.describe_broker(&image(&[]));
        assert_eq!(entries.len(), BROKER.keys().count() + 1, "`broker.id` is told beside `node.id`");
        assert!(entry(&entries, "node.id").read_only);
        assert!(!entry(&entries, "message.max.bytes").read_only);
        assert!(entry(&entries, "num.io.threads").read_only, "dynamic in Kafka, not here");
        assert_eq!(entry(&entries, "node.id").source(), source::STATIC);
        let topic = configs.describe_topic(&image(&[]), &Settings::new());
        assert_eq!(topic.len(), TOPIC.keys().count());
        assert!(entry(&topic, "preallocate").documentation().contains("no effect here"));
    }

    #[test]
    fn what_was_set_for_all_brokers_is_described_alone() {
        let configs = configs("");
        let entries = configs
            .describe_all_brokers(&image(&[("", "message.max.bytes", "5"), ("1", "log.roll.ms", "6")]));
        assert_eq!(entries.len(), 1);
        assert_eq!(places(&entries[0]), [("message.max.bytes", "5", 3)]);
        assert!(configs.describe_all_brokers(&image(&[])).is_empty());
    }

    #[test]
    fn stored_values_that_do_not_fit_any_more_are_passed_over() {
        let configs = configs("");
        let image =
            image(&[("", "message.max.bytes", "x"), ("", "no.such.key", "1"), ("", "log.roll.ms", "9")]);
        let config = configs.topic_defaults(&image).topic(None);
        assert_eq!((config.max_message_bytes, config.segment_ms), (1_048_588, 9));
    }
}
