//! Quotas of users, clients and addresses, as the metadata log says (KIP-13, KIP-124, KIP-546, KIP-612).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use ottla_protocol::{
    messages::{
        describe_client_quotas::ComponentData,
        metadata_log::client_quota_record::{ClientQuotaRecord, EntityData},
    },
    types::Str,
};

/// What is limited, as records and requests call it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum QuotaKey {
    /// Bytes a second that producers send.
    ProducerByteRate,
    /// Bytes a second that consumers are sent.
    ConsumerByteRate,
    /// Percent of the time of one thread.
    RequestPercentage,
    /// Topics and partitions a second that are made and deleted.
    ControllerMutationRate,
    /// Connections a second from an address.
    ConnectionCreationRate,
}

impl QuotaKey {
    const ALL: [Self; 5] = [
        Self::ProducerByteRate,
        Self::ConsumerByteRate,
        Self::RequestPercentage,
        Self::ControllerMutationRate,
        Self::ConnectionCreationRate,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ProducerByteRate => "producer_byte_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::RequestPercentage => "request_percentage",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// Whether a quota of it is a whole number, and of at most how much.
    pub(crate) const fn whole_up_to(self) -> Option<f64> {
        match self {
            Self::ProducerByteRate | Self::ConsumerByteRate => Some(i64::MAX as f64),
            Self::ConnectionCreationRate => Some(i32::MAX as f64),
            Self::RequestPercentage | Self::ControllerMutationRate => None,
        }
    }

    /// Whether it is for addresses, and not for users and clients.
    pub(crate) const fn is_of_addresses(self) -> bool {
        matches!(self, Self::ConnectionCreationRate)
    }
}

/// A part of an entity.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    /// The entity has no such part.
    #[default]
    Absent,
    /// Everybody who has no quota of their own.
    Default,
    /// One of them.
    Named(Str),
}

impl Part {
    fn of(name: Option<&Str>) -> Self {
        name.map_or(Self::Default, |name| Self::Named(name.detached()))
    }

    /// Its name in records and answers, if the entity has it.
    fn told(&self) -> Option<Option<Str>> {
        match self {
            Self::Absent => None,
            Self::Default => Some(None),
            Self::Named(name) => Some(Some(name.clone())),
        }
    }
}

/// What a quota is for: a user, a client id, both together, or an address.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entity {
    pub(crate) user: Part,
    pub(crate) client_id: Part,
    pub(crate) ip: Part,
}

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

impl Entity {
    /// The entity of these parts.
    ///
    /// # Errors
    ///
    /// What is wrong: no part, one that is unknown, twice there or without a name, an address that is none, or one beside
    /// a user or a client id.
    pub(crate) fn of<'a>(
        parts: impl IntoIterator<Item = (&'a Str, Option<&'a Str>)>,
    ) -> Result<Self, String> {
        let mut entity = Self::default();
        for (kind, name) in parts {
            if name.is_some_and(|name| name.is_empty()) {
                return Err(format!("the name of the `{}` is empty", kind.escape_debug()));
            }
            let part = match &**kind {
                USER => &mut entity.user,
                CLIENT_ID => &mut entity.client_id,
                IP => &mut entity.ip,
                other => {
                    return Err(format!(
                        "a quota is for `user`, `client-id` or `ip`, not `{}`",
                        other.escape_debug()
                    ));
                }
            };
            if *part != Part::Absent {
                return Err(format!("the entity has two parts `{kind}`"));
            }
            *part = Part::of(name);
        }
        let is_of_client = entity.user != Part::Absent || entity.client_id != Part::Absent;
        match &entity.ip {
            Part::Absent if !is_of_client => Err("the entity has no part".to_owned()),
            Part::Absent => Ok(entity),
            _ if is_of_client => {
                Err("an `ip` has quotas by itself, without `user` and `client-id`".to_owned())
            }
            Part::Named(address) if address.parse::<IpAddr>().is_err() => {
                Err(format!("`{}` is no address", address.escape_debug()))
            }
            _ => Ok(entity),
        }
    }

    /// Its parts with their names; `None` is the default.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Str, Option<Str>)> {
        let parts = [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)];
        parts.into_iter().filter_map(|(kind, part)| Some((Str::from_static(kind), part.told()?)))
    }

    /// The record that sets a quota, or takes it away.
    pub(crate) fn record(&self, key: QuotaKey, value: Option<f64>) -> ClientQuotaRecord {
        let entity = self.parts().map(|(entity_type, entity_name)| EntityData { entity_type, entity_name });
        ClientQuotaRecord {
            entity: entity.collect(),
            key: Str::from_static(key.name()),
            value: value.unwrap_or_default(),
            remove: value.is_none(),
        }
    }
}

/// A quota that holds, and who shares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quota {
    /// How much, in the unit of its key.
    pub(crate) bound: f64,
    /// Whether it is counted by user.
    pub(crate) by_user: bool,
    /// Whether it is counted by client id.
    pub(crate) by_client_id: bool,
}

/// All quotas.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClientQuotas {
    /// Those of addresses come first.
    by_entity: BTreeMap<Entity, BTreeMap<QuotaKey, f64>>,
    /// Connections a second, by address: one may be written in several ways.
    by_address: HashMap<IpAddr, f64>,
}

impl ClientQuotas {
    /// What is set for an entity.
    pub(crate) fn of(&self, entity: &Entity) -> Option<&BTreeMap<QuotaKey, f64>> {
        self.by_entity.get(entity)
    }

    /// All entities that something is set for.
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&Entity, &BTreeMap<QuotaKey, f64>)> {
        self.by_entity.iter()
    }

    /// Whether nothing is set for any user or client.
    pub(crate) fn are_none_of_clients(&self) -> bool {
        let last = self.by_entity.last_key_value();
        last.is_none_or(|(entity, _)| entity.user == Part::Absent && entity.client_id == Part::Absent)
    }

    /// The quota that holds for a user's client: the nearest that there is, in the order of Kafka's
    /// `DefaultQuotaCallback`. A default is each one's own, not shared among all who go by it.
    pub(crate) fn for_client(&self, key: QuotaKey, user: &Str, client_id: &Str) -> Option<Quota> {
        let named = |name: &Str| Part::Named(name.clone());
        let order = [
            (named(user), named(client_id)),
            (named(user), Part::Default),
            (named(user), Part::Absent),
            (Part::Default, named(client_id)),
            (Part::Default, Part::Default),
            (Part::Default, Part::Absent),
            (Part::Absent, named(client_id)),
            (Part::Absent, Part::Default),
        ];
        order.into_iter().find_map(|(user, client_id)| {
            let (by_user, by_client_id) = (user != Part::Absent, client_id != Part::Absent);
            let bound = *self.by_entity.get(&Entity { user, client_id, ip: Part::Absent })?.get(&key)?;
            Some(Quota { bound, by_user, by_client_id })
        })
    }

    /// Connections a second from an address.
    pub(crate) fn for_address(&self, address: IpAddr) -> Option<f64> {
        let everybody = || {
            let entity = Entity { ip: Part::Default, ..Entity::default() };
            self.by_entity.get(&entity)?.get(&QuotaKey::ConnectionCreationRate).copied()
        };
        self.by_address.get(&address.to_canonical()).copied().or_else(everybody)
    }

    pub(super) fn set(&mut self, record: &ClientQuotaRecord) -> Result<(), String> {
        let entity = Entity::of(record.entity.iter().map(|it| (&it.entity_type, it.entity_name.as_ref())))?;
        let key =
            QuotaKey::named(&record.key).ok_or_else(|| format!("there is no quota `{}`", record.key))?;
        let address = match &entity.ip {
            Part::Named(name) => name.parse().map(|address: IpAddr| address.to_canonical()).ok(),
            _ => None,
        };
        if record.remove {
            if let Some(address) = address {
                self.by_address.remove(&address);
            }
            let Some(set) = self.by_entity.get_mut(&entity) else { return Ok(()) };
            set.remove(&key);
            if set.is_empty() {
                self.by_entity.remove(&entity);
            }
        } else {
            if let Some(address) = address {
                self.by_address.insert(address, record.value);
            }
            self.by_entity.entry(entity).or_default().insert(key, record.value);
        }
        Ok(())
    }
}

/// Which entities are meant (`ClientQuotaFilter`).
#[derive(Clone, Debug, Default)]
pub(crate) struct QuotaFilter {
    user: Option<PartFilter>,
    client_id: Option<PartFilter>,
    ip: Option<PartFilter>,
    strict: bool,
}

#[derive(Clone, Debug)]
enum PartFilter {
    Is(Part),
    /// Whichever, the default included.
    Any,
}

/// Why a filter is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum InvalidFilter {
    /// A part of a kind that there is not.
    UnknownPart(String),
    /// All else.
    Invalid(String),
}

impl QuotaFilter {
    /// The filter of these conditions; with `strict` an entity has no parts but those that they name.
    pub(crate) fn of(components: &[ComponentData], strict: bool) -> Result<Self, InvalidFilter> {
        let invalid = |why: String| InvalidFilter::Invalid(why);
        let mut filter = Self { strict, ..Self::default() };
        let mut seen = HashSet::new();
        for component in components {
            let kind = &*component.entity_type;
            if kind.is_empty() {
                return Err(invalid("the type of a condition is empty".to_owned()));
            }
            if !seen.insert(kind) {
                return Err(invalid(format!("there are two conditions on `{}`", kind.escape_debug())));
            }
            let part = match kind {
                USER => &mut filter.user,
                CLIENT_ID => &mut filter.client_id,
                IP => &mut filter.ip,
                other => {
                    return Err(InvalidFilter::UnknownPart(format!(
                        "there is no type `{}`",
                        other.escape_debug()
                    )));
                }
            };
            *part = Some(match (component.match_type, &component.r#match) {
                (0, Some(name)) => PartFilter::Is(Part::Named(name.clone())),
                (1, None) => PartFilter::Is(Part::Default),
                (2, None) => PartFilter::Any,
                (0, None) => {
                    return Err(invalid(format!("the condition on `{kind}` lacks the name to match")));
                }
                (1 | 2, Some(_)) => {
                    return Err(invalid(format!("the condition on `{kind}` has a name, and no use for it")));
                }
                (other, _) => return Err(invalid(format!("there is no match type `{other}`"))),
            });
        }
        if filter.ip.is_some() && (filter.user.is_some() || filter.client_id.is_some()) {
            return Err(invalid("an `ip` goes with neither `user` nor `client-id`".to_owned()));
        }
        Ok(filter)
    }

    /// Whether it means `entity`.
    pub(crate) fn matches(&self, entity: &Entity) -> bool {
        let matches = |filter: &Option<PartFilter>, part: &Part| match filter {
            Some(PartFilter::Is(wanted)) => wanted == part,
            Some(PartFilter::Any) => *part != Part::Absent,
            None => !self.strict || *part == Part::Absent,
        };
        matches(&self.user, &entity.user)
            && matches(&self.client_id, &entity.client_id)
            && matches(&self.ip, &entity.ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> Result<Entity, String> {
        let parts: Vec<_> =
            parts.iter().map(|(kind, name)| (Str::from(*kind), name.map(Str::from))).collect();
        Entity::of(parts.iter().map(|(kind, name)| (kind, name.as_ref())))
    }

    type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

    fn quotas(of: &[(Parts<'_>, f64)]) -> ClientQuotas {
        let mut quotas = ClientQuotas::default();
        for (parts, bound) in of {
            let record = entity(parts).unwrap().record(QuotaKey::ProducerByteRate, Some(*bound));
            quotas.set(&record).unwrap();
        }
        quotas
    }

    #[test]
    fn the_nearest_quota_holds_and_is_counted_by_what_it_names() {
        // From the last to the first: each one is nearer than those before it.
        let nearer: [Parts<'_>; 8] = [
            &[("client-id", None)],
            &[("client-id", Some("app"))],
            &[("user", None)],
            &[("user", None), ("client-id", None)],
            &[("user", None), ("client-id", Some("app"))],
            &[("user", Some("alice"))],
            &[("user", Some("alice")), ("client-id", None)],
            &[("user", Some("alice")), ("client-id", Some("app"))],
        ];
        let (user, client_id) = (Str::from("alice"), Str::from("app"));
        let mut of = Vec::new();
        for (number, parts) in nearer.into_iter().enumerate() {
            let bound = number as f64 + 1.0;
            of.push((parts, bound));
            let has = |kind| parts.iter().any(|(it, _)| *it == kind);
            let expected = Quota { bound, by_user: has("user"), by_client_id: has("client-id") };
            let quotas = quotas(&of);
            assert_eq!(quotas.for_client(QuotaKey::ProducerByteRate, &user, &client_id), Some(expected));
            assert_eq!(quotas.for_client(QuotaKey::ConsumerByteRate, &user, &client_id), None);
        }
        let quotas = quotas(&[(&[("user", Some("alice")), ("client-id", Some("app"))], 1.0)]);
        assert_eq!(quotas.for_client(QuotaKey::ProducerByteRate, &"bob".into(), &client_id), None);
    }

    #[test]
    fn an_entity_is_of_a_user_a_client_or_an_address() {
        assert!(entity(&[("ip", Some("10.0.0.1"))]).is_ok());
        for wrong in [
            &[][..],
            &[("group", Some("g"))],
            &[("user", Some(""))],
            &[("user", None), ("user", Some("alice"))],
            &[("ip", Some("example"))],
            &[("ip", None), ("user", None)],
        ] {
            assert!(entity(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_taken_away_is_gone() {
        let mut quotas = quotas(&[(&[("user", None)], 5.0)]);
        let everybody = entity(&[("user", None)]).unwrap();
        quotas.set(&everybody.record(QuotaKey::ProducerByteRate, None)).unwrap();
        assert_eq!(quotas, ClientQuotas::default());
        let unknown =
            ClientQuotaRecord { key: "fun".into(), ..everybody.record(QuotaKey::ProducerByteRate, None) };
        assert!(quotas.set(&unknown).is_err());
    }

    #[test]
    fn an_address_has_its_own_quota_or_the_default() {
        let mut quotas = ClientQuotas::default();
        for (name, bound) in [(Some("10.0.0.1"), 3.0), (Some("0:0:0:0:0:0:0:1"), 5.0), (None, 7.0)] {
            let entity = entity(&[("ip", name)]).unwrap();
            quotas.set(&entity.record(QuotaKey::ConnectionCreationRate, Some(bound))).unwrap();
        }
        assert!(quotas.are_none_of_clients());
        assert_eq!(quotas.for_address("10.0.0.1".parse().unwrap()), Some(3.0));
        assert_eq!(quotas.for_address("::ffff:10.0.0.1".parse().unwrap()), Some(3.0));
        assert_eq!(quotas.for_address("::1".parse().unwrap()), Some(5.0));
        assert_eq!(quotas.for_address("10.0.0.2".parse().unwrap()), Some(7.0));
        let gone =
            entity(&[("ip", Some("10.0.0.1"))]).unwrap().record(QuotaKey::ConnectionCreationRate, None);
        quotas.set(&gone).unwrap();
        assert_eq!(quotas.for_address("10.0.0.1".parse().unwrap()), Some(7.0));
    }

    #[test]
    fn filters_mean_what_kafkas_mean() {
        let condition = |kind: &str, match_type, name: Option<&str>| ComponentData {
            entity_type: kind.into(),
            match_type,
            r#match: name.map(Str::from),
        };
        let alice = entity(&[("user", Some("alice"))]).unwrap();
        let app = entity(&[("user", Some("alice")), ("client-id", Some("app"))]).unwrap();
        let all = entity(&[("user", None)]).unwrap();
        let means = |components: &[ComponentData], strict| {
            let filter = QuotaFilter::of(components, strict).unwrap();
            [&alice, &app, &all].map(|entity| filter.matches(entity))
        };
        assert_eq!(means(&[], false), [true, true, true]);
        assert_eq!(means(&[condition("user", 0, Some("alice"))], false), [true, true, false]);
        assert_eq!(means(&[condition("user", 0, Some("alice"))], true), [true, false, false]);
        assert_eq!(means(&[condition("user", 1, None)], false), [false, false, true]);
        assert_eq!(means(&[condition("user", 2, None)], true), [true, false, true]);
        assert_eq!(means(&[condition("client-id", 2, None)], false), [false, true, false]);
        let wrong = |components: &[ComponentData]| QuotaFilter::of(components, false).unwrap_err();
        assert!(matches!(wrong(&[condition("group", 2, None)]), InvalidFilter::UnknownPart(_)));
        for components in [
            vec![condition("", 2, None)],
            vec![condition("user", 2, None), condition("user", 1, None)],
            vec![condition("user", 0, None)],
            vec![condition("user", 1, Some("alice"))],
            vec![condition("user", 3, None)],
            vec![condition("ip", 2, None), condition("user", 2, None)],
        ] {
            assert!(matches!(wrong(&components), InvalidFilter::Invalid(_)), "{components:?}");
        }
    }
}
