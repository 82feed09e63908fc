//! What becomes of quotas. The rules of Kafka's `ClientQuotaControlManager`.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::alter_client_quotas::{
        AlterClientQuotasRequest, AlterClientQuotasResponse, OpData, RequestEntryData, ResponseEntryData,
    },
};

use super::{ApiError, Decision, api_error::code_and_message};
use crate::metadata::{
    image::Image,
    quotas::{Entity, Part, QuotaKey},
    record::MetadataRecord,
};

/// Sets quotas and takes them away. Each entity has its own outcome.
pub(crate) fn alter(
    image: &Image,
    request: &AlterClientQuotasRequest,
) -> Decision<AlterClientQuotasResponse> {
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let mut result = |entry: &RequestEntryData| {
        let outcome = alter_one(image, entry, &mut seen).map(|changes| records.extend(changes));
        let (error_code, error_message) = code_and_message(&outcome);
        ResponseEntryData { error_code, error_message, entity: entry.entity.clone() }
    };
    let entries = request.entries.iter().map(&mut result).collect();
    if request.validate_only {
        records.clear();
    }
    Decision { records, answer: AlterClientQuotasResponse { throttle_time_ms: 0, entries } }
}

fn alter_one(
    image: &Image,
    entry: &RequestEntryData,
    seen: &mut BTreeSet<Entity>,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let invalid = |why: String| ApiError::new(ErrorCode::INVALID_REQUEST, why);
    let parts = entry.entity.iter().map(|part| (&part.entity_type, part.entity_name.as_ref()));
    let entity = Entity::of(parts).map_err(invalid)?;
    if !seen.insert(entity.clone()) {
        return Err(invalid("the request names the entity twice".to_owned()));
    }
    let mut changes = BTreeMap::new();
    for op in &entry.ops {
        // To take away what there is not is no mistake, as in Kafka.
        if op.remove && QuotaKey::named(&op.key).is_none() {
            continue;
        }
        let key = key_of(&entity, op).map_err(invalid)?;
        if changes.insert(key, (!op.remove).then_some(op.value)).is_some() {
            return Err(invalid(format!("the request changes `{}` twice", key.name())));
        }
    }
    let current = image.quotas().of(&entity);
    let is_new =
        |(key, value): &(QuotaKey, Option<f64>)| current.and_then(|it| it.get(key)).copied() != *value;
    Ok(changes.into_iter().filter(is_new).map(|(key, value)| entity.record(key, value).into()).collect())
}

/// The key of a change, if the entity may have it, and the value is one.
fn key_of(entity: &Entity, op: &OpData) -> Result<QuotaKey, String> {
    let named = QuotaKey::named(&op.key);
    if let Some(key) = named.filter(|_| op.remove) {
        return Ok(key);
    }
    let is_of_address = entity.ip != Part::Absent;
    let key = named.filter(|key| key.is_of_addresses() == is_of_address);
    let key = key.ok_or_else(|| format!("the entity has no quota `{}`", op.key.escape_debug()))?;
    // Not a number is not above zero either.
    if op.value.is_nan() || op.value <= 0.0 {
        return Err(format!("`{}` must be more than 0", key.name()));
    }
    match key.whole_up_to() {
        Some(max) if op.value > max => Err(format!("`{}` is at most {max}", key.name())),
        Some(_) if op.value.fract() > 1e-6 => Err(format!("`{}` is a whole number", key.name())),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::alter_client_quotas::EntityData;

    use super::*;
    use crate::controller::testing::cluster_of;

    fn entry(kind: &str, name: Option<&str>, ops: &[(&str, f64)]) -> RequestEntryData {
        let part = EntityData { entity_type: kind.into(), entity_name: name.map(Into::into) };
        let op =
            |(key, value): &(&str, f64)| OpData { key: (*key).into(), value: *value, remove: *value == -1.0 };
        RequestEntryData { entity: vec![part], ops: ops.iter().map(op).collect() }
    }

    fn request(entries: Vec<RequestEntryData>) -> AlterClientQuotasRequest {
        AlterClientQuotasRequest { entries, validate_only: false }
    }

    #[test]
    fn quotas_are_set_changed_and_taken_away() {
        let image = cluster_of(&[1]);
        let set = request(vec![entry(
            "user",
            Some("alice"),
            &[("producer_byte_rate", 1024.0), ("request_percentage", 1.5)],
        )]);
        let made = alter(&image, &set);
        assert_eq!((made.answer.entries[0].error_code, made.records.len()), (ErrorCode::NONE, 2));
        let image = image.apply(&made.records, 1).unwrap();
        assert!(alter(&image, &set).records.is_empty(), "nothing changes");
        let validated = AlterClientQuotasRequest {
            validate_only: true,
            ..request(vec![entry("user", Some("alice"), &[("producer_byte_rate", 5.0)])])
        };
        assert!(alter(&image, &validated).records.is_empty());
        let gone = request(vec![entry(
            "user",
            Some("alice"),
            &[("producer_byte_rate", -1.0), ("request_percentage", -1.0), ("fun", -1.0)],
        )]);
        let image = image.apply(&alter(&image, &gone).records, 1).unwrap();
        assert_eq!(image.quotas().entities().count(), 0);
    }

    #[test]
    fn what_is_no_quota_is_refused_and_the_others_are_set() {
        let entries = vec![
            entry("user", Some("a"), &[("fun", 1.0)]),
            entry("user", Some("b"), &[("connection_creation_rate", 1.0)]),
            entry("ip", Some("10.0.0.1"), &[("producer_byte_rate", 1.0)]),
            entry("user", Some("c"), &[("producer_byte_rate", 0.0)]),
            entry("user", Some("d"), &[("producer_byte_rate", f64::NAN)]),
            entry("user", Some("e"), &[("producer_byte_rate", 1.5)]),
            entry("ip", None, &[("connection_creation_rate", 1e12)]),
            entry("user", Some("f"), &[("producer_byte_rate", 1.0), ("producer_byte_rate", 2.0)]),
            entry("group", Some("g"), &[("producer_byte_rate", 1.0)]),
            entry("user", Some("h"), &[("producer_byte_rate", 1.0)]),
            entry("user", Some("h"), &[("consumer_byte_rate", 1.0)]),
        ];
        let made = alter(&cluster_of(&[1]), &request(entries));
        let codes: Vec<_> = made.answer.entries.iter().map(|entry| entry.error_code).collect();
        let mut expected = vec![ErrorCode::INVALID_REQUEST; 11];
        expected[9] = ErrorCode::NONE;
        assert_eq!(codes, expected);
        assert_eq!(made.records.len(), 1);
    }
}
