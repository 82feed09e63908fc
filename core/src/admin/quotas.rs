//! Quotas: how much users, clients and addresses may take (KIP-546).

use std::{collections::BTreeMap, fmt};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        alter_client_quotas::{
            AlterClientQuotasRequest, AlterClientQuotasResponse, EntityData, OpData, RequestEntryData,
        },
        describe_client_quotas::{ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse},
    },
    types::Str,
};

use super::{Admin, Target, controller_moved, outcome};
use crate::error::{Error, Result};

/// A user, a client id or an address of a quota.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QuotaName {
    /// Each one that has no quota of its own.
    Default,
    /// This one.
    Named(String),
}

impl QuotaName {
    fn told(&self) -> Option<Str> {
        match self {
            Self::Default => None,
            Self::Named(name) => Some(Str::from(name)),
        }
    }
}

impl From<String> for QuotaName {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<&str> for QuotaName {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl fmt::Display for QuotaName {
    /// `<default>`, as Kafka's tools print it, or the name, without what a terminal would obey.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("<default>"),
            Self::Named(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

/// Whom a quota is for: a user, a client id, or both; or an address (Kafka's `ClientQuotaEntity`).
///
/// Of several that are for a client, the nearest holds: user and client id before the user alone, that before the client id
/// alone, and a name before the default.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QuotaEntity {
    /// The user.
    pub user: Option<QuotaName>,
    /// The client's name for itself, `client.id`.
    pub client_id: Option<QuotaName>,
    /// The IP address; with neither of the others.
    pub ip: Option<QuotaName>,
}

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

impl QuotaEntity {
    /// A user; with [`QuotaName::Default`] all that have no quota of their own.
    pub fn user(name: impl Into<QuotaName>) -> Self {
        Self { user: Some(name.into()), ..Self::default() }
    }

    /// A client id.
    pub fn client_id(name: impl Into<QuotaName>) -> Self {
        Self { client_id: Some(name.into()), ..Self::default() }
    }

    /// An address.
    pub fn ip(address: impl Into<QuotaName>) -> Self {
        Self { ip: Some(address.into()), ..Self::default() }
    }

    /// The user's clients of this id.
    #[must_use]
    pub fn and_client_id(mut self, name: impl Into<QuotaName>) -> Self {
        self.client_id = Some(name.into());
        self
    }

    fn parts(&self) -> Vec<EntityData> {
        let parts = [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)];
        let told = |(kind, name): (&'static str, &Option<QuotaName>)| {
            let entity_name = name.as_ref()?.told();
            Some(EntityData { entity_type: Str::from_static(kind), entity_name })
        };
        parts.into_iter().filter_map(told).collect()
    }

    /// The entity of these parts; what this release does not know of is left out.
    fn of(parts: impl Iterator<Item = (Str, Option<Str>)>) -> Self {
        let mut entity = Self::default();
        for (kind, name) in parts {
            let name = name.map_or(QuotaName::Default, |name| QuotaName::Named(name.to_string()));
            match &*kind {
                USER => entity.user = Some(name),
                CLIENT_ID => entity.client_id = Some(name),
                IP => entity.ip = Some(name),
                _ => {}
            }
        }
        entity
    }
}

impl fmt::Display for QuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)];
        let told = parts.into_iter().filter_map(|(kind, name)| Some(format!("{kind} `{}`", name.as_ref()?)));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

/// Which names a filter means.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum QuotaNameFilter {
    /// All names, and the default.
    Any,
    /// This one.
    Only(QuotaName),
}

/// Which quotas are meant: those whose entities have all that is set (Kafka's `ClientQuotaFilter`). By default, all quotas.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct QuotaFilter {
    /// The user.
    pub user: Option<QuotaNameFilter>,
    /// The client id.
    pub client_id: Option<QuotaNameFilter>,
    /// The address.
    pub ip: Option<QuotaNameFilter>,
    /// Only entities that have nothing but what is set.
    pub strict: bool,
}

impl QuotaFilter {
    /// Those of this entity, and of no other.
    pub fn only(entity: QuotaEntity) -> Self {
        let only = |name: Option<QuotaName>| name.map(QuotaNameFilter::Only);
        let QuotaEntity { user, client_id, ip } = entity;
        Self { user: only(user), client_id: only(client_id), ip: only(ip), strict: true }
    }

    fn components(&self) -> Vec<ComponentData> {
        const EXACT: i8 = 0;
        const DEFAULT: i8 = 1;
        const ANY: i8 = 2;
        let parts = [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)];
        let told = |(kind, filter): (&'static str, &Option<QuotaNameFilter>)| {
            let (match_type, r#match) = match filter.as_ref()? {
                QuotaNameFilter::Any => (ANY, None),
                QuotaNameFilter::Only(QuotaName::Default) => (DEFAULT, None),
                QuotaNameFilter::Only(QuotaName::Named(name)) => (EXACT, Some(Str::from(name))),
            };
            Some(ComponentData { entity_type: Str::from_static(kind), match_type, r#match })
        };
        parts.into_iter().filter_map(told).collect()
    }
}

/// A change to the quotas of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterQuota {
    /// Whom they are for.
    pub entity: QuotaEntity,
    /// What becomes of each: a number in its unit, or `None` to take it away.
    pub changes: BTreeMap<String, Option<f64>>,
}

impl AlterQuota {
    /// Bytes a second that producers send, to each broker.
    pub const PRODUCER_BYTE_RATE: &'static str = "producer_byte_rate";
    /// Bytes a second that consumers are sent, by each broker.
    pub const CONSUMER_BYTE_RATE: &'static str = "consumer_byte_rate";
    /// Percent of the time of one of a broker's threads.
    pub const REQUEST_PERCENTAGE: &'static str = "request_percentage";
    /// Partitions a second that are made and deleted.
    pub const CONTROLLER_MUTATION_RATE: &'static str = "controller_mutation_rate";
    /// Connections a second from an address, to each broker.
    pub const CONNECTION_CREATION_RATE: &'static str = "connection_creation_rate";

    /// No change yet.
    pub fn of(entity: QuotaEntity) -> Self {
        Self { entity, changes: BTreeMap::new() }
    }

    /// Sets a quota, by its name.
    #[must_use]
    pub fn set(mut self, quota: impl Into<String>, value: f64) -> Self {
        self.changes.insert(quota.into(), Some(value));
        self
    }

    /// Takes a quota away, by its name.
    #[must_use]
    pub fn remove(mut self, quota: impl Into<String>) -> Self {
        self.changes.insert(quota.into(), None);
        self
    }
}

impl Admin {
    /// The quotas that a filter means: of each entity, what is set for it, by its name.
    pub async fn describe_client_quotas(
        &self,
        filter: QuotaFilter,
    ) -> Result<Vec<(QuotaEntity, BTreeMap<String, f64>)>> {
        let request = DescribeClientQuotasRequest { components: filter.components(), strict: filter.strict };
        let check = |response: &DescribeClientQuotasResponse| {
            let message = response.error_message.as_deref();
            outcome(response.error_code, message, || "list quotas".to_owned())
        };
        let response = self.ask(Target::Any, request, check).await?;
        let entries = response.entries.unwrap_or_default().into_iter().map(|entry| {
            let parts = entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name));
            let values = entry.values.into_iter().map(|value| (value.key.to_string(), value.value));
            (QuotaEntity::of(parts), values.collect())
        });
        let mut entries: Vec<(QuotaEntity, BTreeMap<String, f64>)> = entries.collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
    }

    /// Sets quotas and takes them away, or with `validate_only` says whether that could be done; an outcome for each entity, in order.
    /// To take away what is not set is as good as done.
    pub async fn alter_client_quotas(
        &self,
        alterations: impl IntoIterator<Item = AlterQuota>,
        validate_only: bool,
    ) -> Result<Vec<(QuotaEntity, Result<()>)>> {
        let alterations: Vec<_> = alterations.into_iter().collect();
        let op = |(key, value): (&String, &Option<f64>)| OpData {
            key: Str::from(key),
            value: value.unwrap_or_default(),
            remove: value.is_none(),
        };
        let entry = |alteration: &AlterQuota| RequestEntryData {
            entity: alteration.entity.parts(),
            ops: alteration.changes.iter().map(op).collect(),
        };
        let entries = alterations.iter().map(entry).collect();
        let request = AlterClientQuotasRequest { entries, validate_only };
        let check = |response: &AlterClientQuotasResponse| {
            controller_moved(response.entries.iter().map(|entry| entry.error_code))
        };
        let response = self.ask(Target::Controller, request, check).await?;
        // Kafka answers in an order of its own.
        let answered = response.entries.into_iter().map(|entry| {
            let parts = entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name));
            (QuotaEntity::of(parts), (entry.error_code, entry.error_message))
        });
        let answered: Vec<_> = answered.collect();
        let outcome_of = |alteration: AlterQuota| {
            let doing = || format!("change the quotas of {}", alteration.entity);
            let result = match answered.iter().find(|(entity, _)| *entity == alteration.entity) {
                Some((_, (code, message))) => outcome(*code, message.as_deref(), doing),
                None => {
                    Err(Error::broker(ErrorCode::UNKNOWN_SERVER_ERROR, Some("it did not answer for all"))
                        .context(doing()))
                }
            };
            (alteration.entity, result)
        };
        Ok(alterations.into_iter().map(outcome_of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_told_by_the_parts_that_it_has() {
        let entity = QuotaEntity::user("al\u{7}ice").and_client_id(QuotaName::Default);
        let parts = entity.parts();
        let told: Vec<_> =
            parts.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref())).collect();
        assert_eq!(told, [("user", Some("al\u{7}ice")), ("client-id", None)]);
        let back = QuotaEntity::of(parts.into_iter().map(|part| (part.entity_type, part.entity_name)));
        assert_eq!(back, entity);
        assert_eq!(entity.to_string(), "user `al\\u{7}ice`, client-id `<default>`");
    }

    #[test]
    fn a_filter_has_a_condition_for_each_part_that_is_set() {
        let components = |filter: QuotaFilter| {
            let told = |it: ComponentData| {
                (it.entity_type.to_string(), it.match_type, it.r#match.map(|name| name.to_string()))
            };
            filter.components().into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(components(QuotaFilter::default()), []);
        let only = QuotaFilter::only(QuotaEntity::user("alice").and_client_id(QuotaName::Default));
        assert!(only.strict);
        let expected = [("user".to_owned(), 0, Some("alice".to_owned())), ("client-id".to_owned(), 1, None)];
        assert_eq!(components(only), expected);
        let any = QuotaFilter { ip: Some(QuotaNameFilter::Any), ..QuotaFilter::default() };
        assert_eq!(components(any), [("ip".to_owned(), 2, None)]);
    }
}
