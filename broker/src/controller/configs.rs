//! Changes of configurations: AlterConfigs and IncrementalAlterConfigs.

use std::collections::{BTreeSet, HashSet};

use ottla_config::{Effect, Key, Table, Type, Update};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::metadata_log::config_record::ConfigRecord,
    types::{GroupId, Str, TopicName},
};

use super::{ApiError, Decision, Rules};
use crate::{
    config::{BROKER, GROUP, TOPIC},
    metadata::{
        effective::{check_group_bounds, exact_key, is_dynamic},
        image::{DEFAULT_BROKER, Image, Settings, resource},
        record::MetadataRecord,
    },
};

/// Longest value of a key, in bytes: Kafka's own record cannot hold more (`Short.MAX_VALUE`).
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// The changes of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Alteration {
    /// What kind of resource: one of [`resource`].
    pub(crate) resource_type: i8,
    /// Its name.
    pub(crate) resource_name: Str,
    /// Whether keys that are not named lose their values, as AlterConfigs has it.
    pub(crate) replace: bool,
    /// What is to change.
    pub(crate) changes: Vec<Change>,
}

/// The change of one key.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The key.
    pub(crate) name: Str,
    /// What is done: 0 set, 1 delete, 2 append, 3 subtract (`AlterConfigOp.OpType`).
    pub(crate) operation: i8,
    /// The value, or the list's elements.
    pub(crate) value: Option<Str>,
}

/// The operation of AlterConfigs.
pub(crate) const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Changes each resource whole or not at all. The answers are in the order of `alterations`.
pub(crate) fn alter(
    image: &Image,
    rules: &Rules,
    alterations: &[Alteration],
    validate_only: bool,
) -> Decision<Vec<Result<(), ApiError>>> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    let twice: HashSet<_> = alterations.iter().map(resource_of).filter(|r| !seen.insert(r.clone())).collect();
    let mut one = |alteration: &Alteration| {
        if twice.contains(&resource_of(alteration)) {
            return Err(invalid_request("the request names the resource twice"));
        }
        records.extend(alter_one(image, rules, alteration)?);
        Ok(())
    };
    let answer = alterations.iter().map(&mut one).collect();
    if validate_only {
        records.clear();
    }
    Decision { records, answer }
}

fn resource_of(alteration: &Alteration) -> (i8, Str) {
    (alteration.resource_type, alteration.resource_name.clone())
}

fn alter_one(image: &Image, rules: &Rules, alteration: &Alteration) -> Result<Vec<MetadataRecord>, ApiError> {
    let name = &alteration.resource_name;
    let (table, before) = match alteration.resource_type {
        resource::TOPIC => {
            let topic = TopicName(name.clone());
            if topic.is_empty() {
                return Err(invalid_request(
                    "topics have no default configuration of their own; set the broker's",
                ));
            }
            topic.check().map_err(|e| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, e.to_string()))?;
            if image.topic(&topic).is_none() {
                let message = format!("there is no topic `{topic}`");
                return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
            }
            (&TOPIC, image.topic_settings(&topic))
        }
        resource::BROKER => {
            check_broker(rules, name)?;
            (&BROKER, image.broker_settings(name))
        }
        resource::BROKER_LOGGER => {
            return Err(invalid_request(
                "log levels are set when the broker starts; they cannot be changed yet",
            ));
        }
        resource::CLIENT_METRICS => return Err(invalid_request("clients' metrics are not collected yet")),
        resource::GROUP => {
            if name.is_empty() {
                return Err(invalid_request(
                    "groups have no default configuration of their own; set the broker's",
                ));
            }
            // It may be set before there is such a group, and outlives it.
            (&GROUP, image.group_settings(&GroupId(name.clone())))
        }
        other => return Err(invalid_request(format!("`{other}` is no type of a resource"))),
    };
    let before = before.map(|set| Settings::clone(set)).unwrap_or_default();
    let after = changed(table, &before, alteration)?;
    match alteration.resource_type {
        resource::TOPIC => check_topic_settings(&after)?,
        resource::GROUP => check_group_settings(image, rules, &after)?,
        _ => check_broker_settings(image, rules, name, &before, &after)?,
    }
    Ok(records(alteration, &before, &after))
}

/// The name must be this broker's id, or empty for all brokers.
pub(crate) fn check_broker(rules: &Rules, name: &str) -> Result<(), ApiError> {
    if name == DEFAULT_BROKER || name == rules.configs.node() {
        return Ok(());
    }
    let this = rules.configs.node();
    Err(invalid_request(format!(
        "this is broker `{this}`, not `{name}`; ask that one, or leave the name empty"
    )))
}

/// The values of a resource after the changes.
fn changed(table: &'static Table, before: &Settings, alteration: &Alteration) -> Result<Settings, ApiError> {
    let mut after = if alteration.replace { Settings::new() } else { before.clone() };
    let mut names = BTreeSet::new();
    for Change { name, operation, value } in &alteration.changes {
        if !names.insert(name) {
            return Err(invalid_request(format!("the request names the key `{name}` twice")));
        }
        if *operation == DELETE {
            after.remove(name);
            continue;
        }
        let Some(value) = value else {
            return Err(invalid_request(format!("`{name}` is null; delete it instead")));
        };
        match *operation {
            SET => after.insert(name.clone(), value.clone()),
            APPEND | SUBTRACT => {
                let list = list(table, before, name)?;
                after.insert(name.clone(), edited(list, value, *operation == APPEND))
            }
            other => return Err(invalid_request(format!("`{other}` is no operation on `{name}`"))),
        };
    }
    Ok(after)
}

/// The elements of a list as they are set, or else its default, as Kafka's controller has it.
fn list(table: &'static Table, before: &Settings, name: &Str) -> Result<Vec<String>, ApiError> {
    let key = known(table, name)?;
    if !matches!(key.kind, Type::List | Type::ListOf(_)) {
        let message = format!("`{name}` is no list; set it instead of adding to it or taking from it");
        return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
    }
    let text = before.get(name).map(|set| &**set).or(key.default).unwrap_or_default();
    Ok(elements(text).map(str::to_owned).collect())
}

fn edited(mut list: Vec<String>, change: &str, append: bool) -> Str {
    for element in elements(change) {
        let at = list.iter().position(|e| e == element);
        match (append, at) {
            (true, None) => list.push(element.to_owned()),
            (false, Some(at)) => drop(list.remove(at)),
            _ => {}
        }
    }
    list.join(",").into()
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// Checks the values that a topic sets, or is to be created with.
pub(crate) fn check_topic_settings(settings: &Settings) -> Result<(), ApiError> {
    for (name, text) in settings {
        check_value(known(&TOPIC, name)?, text)?;
    }
    let lag_ms = |name: &str| settings.get(name.as_bytes()).and_then(|text| text.trim().parse::<i64>().ok());
    match (lag_ms("min.compaction.lag.ms"), lag_ms("max.compaction.lag.ms")) {
        (Some(least), Some(most)) if least > most => Err(ApiError::new(
            ErrorCode::INVALID_CONFIG,
            format!(
                "`min.compaction.lag.ms` is `{least}`, more than `max.compaction.lag.ms`, `{most}`; give no more"
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks the values that a group sets.
fn check_group_settings(image: &Image, rules: &Rules, settings: &Settings) -> Result<(), ApiError> {
    for (name, text) in settings {
        check_value(known(&GROUP, name)?, text)?;
    }
    let checked = rules.configs.group_defaults(image).check(settings);
    checked.map_err(|why| ApiError::new(ErrorCode::INVALID_CONFIG, why))
}

/// Checks the values that are set for this broker, or all, by what they make of the broker and of its topics.
fn check_broker_settings(
    image: &Image,
    rules: &Rules,
    resource: &str,
    before: &Settings,
    after: &Settings,
) -> Result<(), ApiError> {
    // What was stored before and is left as it is may be of another release, and is none of this request's.
    for (name, text) in after.iter().filter(|(name, text)| before.get(*name) != Some(*text)) {
        let key = known(&BROKER, name)?;
        check_dynamic(key, resource)?;
        check_value(key, text)?;
    }
    let broker = rules.configs.broker_with(image, resource, after);
    let invalid = |why: String| ApiError::new(ErrorCode::INVALID_CONFIG, why);
    for table in [&TOPIC, &GROUP] {
        table.inherit(&broker).map_err(|errors| invalid(errors.to_string()))?;
    }
    check_group_bounds(&broker, after).map_err(invalid)
}

/// Whether the broker's key may be changed while it runs, and for `resource`.
fn check_dynamic(key: &'static Key, resource: &str) -> Result<(), ApiError> {
    let name = key.name;
    match (key.update, key.effect) {
        (Update::ReadOnly, _) => Err(invalid_request(format!(
            "`{name}` cannot be changed while the broker runs; set it in the broker's own configuration and restart it"
        ))),
        (Update::PerBroker, _) if resource == DEFAULT_BROKER => {
            Err(invalid_request(format!("`{name}` is of one broker; it cannot be set for all of them")))
        }
        _ if is_dynamic(key) => Ok(()),
        (_, Effect::Known { why }) => Err(invalid_request(format!("`{name}` would have no effect: {why}"))),
        (_, Effect::Applied) => Err(invalid_request(format!(
            "`{name}` cannot be changed while the broker runs yet; set it in the broker's own configuration and restart it"
        ))),
    }
}

fn known(table: &'static Table, name: &str) -> Result<&'static Key, ApiError> {
    exact_key(table, name).ok_or_else(|| {
        let near = table.suggest(name).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let message = format!("`{name}` is no key of a {}{near}", table.name);
        ApiError::new(ErrorCode::INVALID_CONFIG, message)
    })
}

fn check_value(key: &'static Key, text: &str) -> Result<(), ApiError> {
    if text.len() > VALUE_BYTES_MAX {
        let (name, len) = (key.name, text.len());
        let message = format!("`{name}` has {len} bytes; {VALUE_BYTES_MAX} are the most");
        return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
    }
    key.validate(text)
        .map(drop)
        .map_err(|invalid| ApiError::new(ErrorCode::INVALID_CONFIG, format!("`{}`: {invalid}", key.name)))
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

/// One record for each key whose value changes.
fn records(alteration: &Alteration, before: &Settings, after: &Settings) -> Vec<MetadataRecord> {
    let record = |name: &Str, value: Option<&Str>| {
        config_record(alteration.resource_type, &alteration.resource_name, name, value)
    };
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| record(name, None));
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    gone.chain(set.map(|(name, value)| record(name, Some(value)))).collect()
}

/// The record that sets one value, or takes it away.
pub(super) fn config_record(
    resource_type: i8,
    resource: &Str,
    name: &Str,
    value: Option<&Str>,
) -> MetadataRecord {
    ConfigRecord { resource_type, resource_name: resource.clone(), name: name.clone(), value: value.cloned() }
        .into()
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};

    use super::*;
    use crate::controller::{
        testing::{cluster_of, counting_ids, rules},
        topics,
    };
    use crate::quota::Mutations;

    /// A cluster of broker 1 with the topic `a`.
    fn image() -> Image {
        let image = cluster_of(&[1]);
        let topic = CreatableTopic {
            name: "a".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let created =
            topics::create(&image, &rules(""), &request, false, &mut counting_ids(), Mutations::default());
        image.apply(&created.records, 1).unwrap()
    }

    fn alteration(resource_type: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> Alteration {
        let change = |&(name, operation, value): &(&str, i8, Option<&str>)| Change {
            name: name.into(),
            operation,
            value: value.map(Str::from),
        };
        let changes = changes.iter().map(change).collect();
        Alteration { resource_type, resource_name: name.into(), replace: false, changes }
    }

    fn altered(image: &Image, alteration: Alteration) -> Result<Image, ApiError> {
        let Decision { records, mut answer } = alter(image, &rules(""), &[alteration], false);
        let after = image.apply(&records, 1).unwrap();
        match answer.remove(0) {
            Ok(()) => Ok(after),
            Err(error) => {
                assert_eq!(records, [], "nothing changes on an error");
                Err(error)
            }
        }
    }

    fn set_of(image: &Image, topic: &str) -> Vec<String> {
        let settings =
            image.topic_settings(&topic.into()).map(|set| Settings::clone(set)).unwrap_or_default();
        settings.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn topic(changes: &[(&str, i8, Option<&str>)]) -> Alteration {
        alteration(resource::TOPIC, "a", changes)
    }

    #[test]
    fn values_are_set_deleted_appended_and_subtracted() {
        let list = "leader.replication.throttled.replicas";
        let image =
            altered(&image(), topic(&[("retention.ms", SET, Some("5")), (list, APPEND, Some("0:1,1:1"))]))
                .unwrap();
        assert_eq!(set_of(&image, "a"), [&format!("{list}=0:1,1:1"), "retention.ms=5"]);
        let image =
            altered(&image, topic(&[("retention.ms", DELETE, None), (list, APPEND, Some("1:1,2:1"))]))
                .unwrap();
        assert_eq!(set_of(&image, "a"), [format!("{list}=0:1,1:1,2:1")]);
        let image = altered(&image, topic(&[(list, SUBTRACT, Some("1:1,9:9"))])).unwrap();
        assert_eq!(set_of(&image, "a"), [format!("{list}=0:1,2:1")]);
        // Of a list that is not set, the default is what is added to.
        let image = altered(&image, topic(&[("cleanup.policy", APPEND, Some("delete"))])).unwrap();
        assert_eq!(set_of(&image, "a")[0], "cleanup.policy=delete");
    }

    #[test]
    fn replacing_takes_away_what_is_not_named() {
        let image =
            altered(&image(), topic(&[("retention.ms", SET, Some("5")), ("flush.ms", SET, Some("6"))]))
                .unwrap();
        let replace = Alteration { replace: true, ..topic(&[("flush.ms", SET, Some("7"))]) };
        assert_eq!(set_of(&altered(&image, replace).unwrap(), "a"), ["flush.ms=7"]);
    }

    #[test]
    fn what_does_not_change_is_not_written() {
        let image = altered(&image(), topic(&[("retention.ms", SET, Some("5"))])).unwrap();
        let again = topic(&[("retention.ms", SET, Some("5")), ("flush.ms", DELETE, None)]);
        assert_eq!(alter(&image, &rules(""), &[again], false).records, []);
        let dry = alter(&image, &rules(""), &[topic(&[("retention.ms", SET, Some("6"))])], true);
        assert!(dry.records.is_empty() && dry.answer[0].is_ok());
    }

    #[test]
    fn a_resource_is_changed_whole_or_not_at_all() {
        let image = image();
        let error =
            altered(&image, topic(&[("retention.ms", SET, Some("5")), ("segment.bytes", SET, Some("x"))]))
                .unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_CONFIG);
        let two = [topic(&[("retention.ms", SET, Some("5"))]), topic(&[("flush.ms", SET, Some("5"))])];
        let decision = alter(&image, &rules(""), &two, false);
        assert!(decision.records.is_empty() && decision.answer.iter().all(Result::is_err));
        let other = alteration(resource::BROKER, "", &[("message.max.bytes", SET, Some("5"))]);
        let bad = topic(&[("nonsense", SET, Some("5"))]);
        let decision = alter(&image, &rules(""), &[bad, other], false);
        assert!(decision.answer[0].is_err() && decision.answer[1].is_ok());
        assert_eq!(decision.records.len(), 1);
    }

    #[test]
    fn mistakes_are_told_by_kafkas_codes() {
        let image = image();
        let code = |alteration| altered(&image, alteration).unwrap_err().code;
        use ErrorCode as E;
        assert_eq!(code(alteration(resource::TOPIC, "b", &[])), E::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(code(alteration(resource::TOPIC, "b/c", &[])), E::INVALID_TOPIC_EXCEPTION);
        assert_eq!(code(alteration(resource::TOPIC, "", &[])), E::INVALID_REQUEST);
        assert_eq!(
            code(topic(&[("flush.ms", SET, Some("1")), ("flush.ms", SET, Some("2"))])),
            E::INVALID_REQUEST
        );
        assert_eq!(code(topic(&[("flush.ms", SET, None)])), E::INVALID_REQUEST);
        assert_eq!(code(topic(&[("flush.ms", 4, Some("1"))])), E::INVALID_REQUEST);
        assert_eq!(code(topic(&[("flush.ms", APPEND, Some("1"))])), E::INVALID_CONFIG);
        let lags = [("min.compaction.lag.ms", SET, Some("6")), ("max.compaction.lag.ms", SET, Some("5"))];
        assert_eq!(code(topic(&lags)), E::INVALID_CONFIG);
        assert_eq!(code(alteration(resource::GROUP, "", &[])), E::INVALID_REQUEST);
        for kind in [0, 1, 3, 8, 16, 99] {
            assert_eq!(code(alteration(kind, "1", &[])), E::INVALID_REQUEST, "resource type {kind}");
        }
    }

    #[test]
    fn a_group_is_configured_before_it_is_there_and_within_its_brokers_bounds() {
        let image = image();
        let session = "consumer.session.timeout.ms";
        let group = |image: &Image, changes: &[(&str, i8, Option<&str>)]| {
            altered(image, alteration(resource::GROUP, "g", changes))
        };
        let set = group(&image, &[(session, SET, Some("50000"))]).unwrap();
        assert_eq!(set.group_settings(&"g".into()).unwrap().len(), 1);
        assert_eq!(group(&set, &[(session, DELETE, None)]).unwrap().group_settings(&"g".into()), None);
        let error = |key, value| group(&image, &[(key, SET, Some(value))]).unwrap_err();
        assert!(error(session, "60001").message.contains("group.consumer.max.session.timeout.ms"));
        assert!(error(session, "x").message.contains("give"));
        let unknown = error("consumer.session.timeout", "50000");
        assert_eq!(unknown.code, ErrorCode::INVALID_CONFIG);
        assert!(unknown.message.contains("did you mean `consumer.session.timeout.ms`?"), "{unknown:?}");
    }

    #[test]
    fn a_broker_changes_what_groups_take_over_within_its_own_bounds() {
        let image = image();
        let broker = |key: &str, value: &str| {
            altered(&image, alteration(resource::BROKER, "", &[(key, SET, Some(value))]))
        };
        assert!(broker("group.consumer.assignment.interval.ms", "2000").is_ok());
        let refused = broker("group.consumer.assignment.interval.ms", "15001").unwrap_err();
        assert!(refused.message.contains("group.consumer.max.assignment.interval.ms"), "{refused:?}");
        let refused = broker("group.consumer.session.timeout.ms", "50000").unwrap_err();
        assert!(refused.message.contains("restart it"), "{refused:?}");
        let refused = broker("group.share.assignment.interval.ms", "2000").unwrap_err();
        assert!(refused.message.contains("would have no effect"), "{refused:?}");
    }

    #[test]
    fn a_broker_takes_what_its_topics_take_over_and_refuses_the_rest_with_the_reason() {
        let image = image();
        let broker = |name: &str, key: &str, value: &str| {
            altered(&image, alteration(resource::BROKER, name, &[(key, SET, Some(value))]))
        };
        let after = broker("1", "log.retention.ms", "5").unwrap();
        assert_eq!(after.broker_settings("1").unwrap().len(), 1);
        let message = |name, key, value| broker(name, key, value).unwrap_err().message.to_string();
        assert_eq!(
            message("2", "log.retention.ms", "5"),
            "this is broker `1`, not `2`; ask that one, or leave the name empty"
        );
        assert!(message("", "num.partitions", "5").contains("restart it"));
        assert!(message("", "listeners", "A://:1").contains("is of one broker"));
        assert!(message("", "num.io.threads", "5").contains("would have no effect: "));
        assert!(message("", "max.connections", "5").contains("yet"));
        assert!(message("", "message.max.byte", "5").contains("did you mean `message.max.bytes`?"));
        assert!(message("", "message.max.bytes", "x").contains("give"));
    }
}
