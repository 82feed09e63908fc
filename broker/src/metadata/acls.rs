//! Access control lists as the metadata log says: who may or may not do what, with which resources (KIP-11, KIP-290,
//! KIP-801).
//!
//! Here is only what the rules say, and [`Acls::decide`] finds those that speak of a resource without looking at the
//! others. Who is above all rules, and what goes where there are none, is for `authorization` to say.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use ottla_protocol::{
    messages::metadata_log::{
        access_control_entry_record::AccessControlEntryRecord,
        remove_access_control_entry_record::RemoveAccessControlEntryRecord,
    },
    types::{Str, Uuid},
};

/// As the name of a literal pattern, all resources of the type; as a host, all hosts.
pub(crate) const WILDCARD: &str = "*";
/// The one name that a cluster has (`Resource.CLUSTER_NAME`).
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";
/// What a principal of the only type that connects here begins with.
const USER: &str = "User:";

/// Declares enums whose values have numbers in requests and records.
macro_rules! numbered {
    ($($(#[$doc:meta])* enum $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) enum $name {
            $($(#[$value_doc])* $value = $number,)*
        }

        impl $name {
            /// What this number stands for; nothing if it is a filter's only, or unknown.
            pub(crate) fn of(number: i8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$value),)*
                    _ => None,
                }
            }

            /// Its number.
            pub(crate) const fn number(self) -> i8 {
                self as i8
            }
        }
    )*};
}

numbered! {
    /// What may be guarded (`ResourceType`).
    enum ResourceType {
        /// A topic.
        Topic = 2,
        /// A group, of whatever kind.
        Group = 3,
        /// The cluster, under [`CLUSTER_NAME`].
        Cluster = 4,
        /// A transactional id.
        TransactionalId = 5,
        /// A delegation token.
        DelegationToken = 6,
        /// A user, for whom others ask tokens.
        User = 7,
    }

    /// How a rule's name is matched (`PatternType`).
    enum PatternType {
        /// The resource of this name; [`WILDCARD`] for all.
        Literal = 3,
        /// The resources whose names begin so.
        Prefixed = 4,
    }

    /// What may be done (`AclOperation`).
    enum Operation {
        /// In a rule, whatever there is.
        All = 2,
        /// Fetch from a topic; be a member of a group.
        Read = 3,
        /// Produce.
        Write = 4,
        /// Make a topic.
        Create = 5,
        /// Delete a topic, a group, or records.
        Delete = 6,
        /// Add partitions; of the cluster, change users and rules.
        Alter = 7,
        /// See it.
        Describe = 8,
        /// What brokers do among themselves.
        ClusterAction = 9,
        /// See its configuration.
        DescribeConfigs = 10,
        /// Change its configuration.
        AlterConfigs = 11,
        /// Produce with an id of one's own.
        IdempotentWrite = 12,
        /// Make tokens for a user.
        CreateTokens = 13,
        /// See a user's tokens.
        DescribeTokens = 14,
        /// Let a transaction wait for a coordinator elsewhere (KIP-939).
        TwoPhaseCommit = 15,
    }

    /// What a rule says (`AclPermissionType`).
    enum Permission {
        /// May not, whatever else is said.
        Deny = 2,
        /// May.
        Allow = 3,
    }
}

impl ResourceType {
    /// All that can be done with it (`AclEntry.supportedOperations`).
    pub(crate) const fn operations(self) -> &'static [Operation] {
        use Operation as O;
        match self {
            Self::Topic => &[
                O::Read,
                O::Write,
                O::Create,
                O::Delete,
                O::Alter,
                O::Describe,
                O::DescribeConfigs,
                O::AlterConfigs,
            ],
            Self::Group => &[O::Read, O::Delete, O::Describe, O::DescribeConfigs, O::AlterConfigs],
            Self::Cluster => &[
                O::Create,
                O::Alter,
                O::Describe,
                O::ClusterAction,
                O::DescribeConfigs,
                O::AlterConfigs,
                O::IdempotentWrite,
            ],
            Self::TransactionalId => &[O::Describe, O::Write, O::TwoPhaseCommit],
            Self::DelegationToken => &[O::Describe],
            Self::User => &[O::CreateTokens, O::DescribeTokens],
        }
    }
}

impl Operation {
    /// Whether a rule that allows `self` allows `asked` with it. A rule that denies takes nothing else with it.
    fn implies(self, asked: Self) -> bool {
        match asked {
            Self::Describe => {
                matches!(self, Self::Describe | Self::Read | Self::Write | Self::Delete | Self::Alter)
            }
            Self::DescribeConfigs => matches!(self, Self::DescribeConfigs | Self::AlterConfigs),
            _ => self == asked,
        }
    }
}

/// One rule, as people wrote it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Acl {
    /// What it guards.
    pub(crate) resource_type: ResourceType,
    /// Which of them.
    pub(crate) name: Str,
    /// How `name` is matched.
    pub(crate) pattern_type: PatternType,
    /// As `User:alice`; `User:*` for everybody.
    pub(crate) principal: Str,
    /// An address; [`WILDCARD`] for all.
    pub(crate) host: Str,
    /// What it is about.
    pub(crate) operation: Operation,
    /// What it says.
    pub(crate) permission: Permission,
}

impl Acl {
    /// The rule of a record.
    fn of(record: &AccessControlEntryRecord) -> Result<Self, String> {
        let unknown = |what: &str, number: i8| format!("{number} is no {what} of an access rule");
        Ok(Self {
            resource_type: ResourceType::of(record.resource_type)
                .ok_or_else(|| unknown("resource type", record.resource_type))?,
            name: record.resource_name.detached(),
            pattern_type: PatternType::of(record.pattern_type)
                .ok_or_else(|| unknown("pattern type", record.pattern_type))?,
            principal: record.principal.detached(),
            host: record.host.detached(),
            operation: Operation::of(record.operation)
                .ok_or_else(|| unknown("operation", record.operation))?,
            permission: Permission::of(record.permission_type)
                .ok_or_else(|| unknown("permission", record.permission_type))?,
        })
    }

    /// The record that adds it under `id`.
    pub(crate) fn record(&self, id: Uuid) -> AccessControlEntryRecord {
        AccessControlEntryRecord {
            id,
            resource_type: self.resource_type.number(),
            resource_name: self.name.detached(),
            pattern_type: self.pattern_type.number(),
            principal: self.principal.detached(),
            host: self.host.detached(),
            operation: self.operation.number(),
            permission_type: self.permission.number(),
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    /// The user's name, without `User:`.
    pub(crate) user: &'a str,
    /// The other end of the connection; of a mapped address, the IPv4 one.
    pub(crate) address: IpAddr,
}

/// What the rules say of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// A rule denies it, or there are rules for the resource and none allows it.
    Denied,
    /// A rule allows it, and none denies it.
    Allowed,
    /// No rule speaks of the resource.
    NoRule,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Acls {
    by_id: BTreeMap<Uuid, Arc<Acl>>,
    ids: BTreeMap<Arc<Acl>, Uuid>,
    by_type: BTreeMap<ResourceType, Patterns>,
}

impl Acls {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is this very rule.
    pub(crate) fn contains(&self, acl: &Acl) -> bool {
        self.ids.contains_key(acl)
    }

    /// Those that `filter` matches, with their ids: a resource's together, in the order of names.
    pub(crate) fn matching(&self, filter: &AclFilter) -> impl Iterator<Item = (Uuid, &Acl)> {
        self.ids.iter().filter(|(acl, _)| filter.matches(acl)).map(|(acl, id)| (*id, &**acl))
    }

    /// What the rules say of `who` doing `operation` with a resource.
    pub(crate) fn decide(
        &self,
        who: Who<'_>,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) -> Verdict {
        let mut verdict = Verdict::NoRule;
        let Some(patterns) = self.by_type.get(&resource_type) else { return verdict };
        for rule in patterns.speaking_of(name.as_bytes()).flatten() {
            match rule.says(who, operation) {
                Some(Permission::Deny) => return Verdict::Denied,
                Some(Permission::Allow) => verdict = Verdict::Allowed,
                // Where there are rules, who is not named may not.
                None if verdict == Verdict::NoRule => verdict = Verdict::Denied,
                None => {}
            }
        }
        verdict
    }

    /// Whether there may be a resource with which `who` may do `operation`, as `Authorizer.authorizeByResourceType`
    /// finds out: a rule allows it, and no rule for as many resources or more denies it.
    pub(crate) fn may_with_any(
        &self,
        who: Who<'_>,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        let Some(Patterns { literal, prefixed }) = self.by_type.get(&resource_type) else { return false };
        let says = |rules: &[Rule], permission| {
            let is_about = |rule: &Rule| rule.operation == Operation::All || rule.operation == operation;
            rules.iter().any(|rule| rule.permission == permission && rule.is_for(who) && is_about(rule))
        };
        let everything = literal.get(WILDCARD.as_bytes()).map_or(&[][..], |rules| rules);
        if says(everything, Permission::Deny) {
            return false;
        }
        let denied_before = |name: &[u8]| {
            prefixes_of(prefixed, name)
                .any(|(prefix, rules)| !prefix.is_empty() && says(rules, Permission::Deny))
        };
        says(everything, Permission::Allow)
            || literal.iter().any(|(name, rules)| {
                says(rules, Permission::Allow)
                    && !says(rules, Permission::Deny)
                    && !denied_before(name.as_bytes())
            })
            || prefixed
                .iter()
                .any(|(name, rules)| says(rules, Permission::Allow) && !denied_before(name.as_bytes()))
    }

    pub(super) fn add(&mut self, record: &AccessControlEntryRecord) -> Result<(), String> {
        let acl = Arc::new(Acl::of(record)?);
        if self.by_id.contains_key(&record.id) || self.ids.contains_key(&acl) {
            return Err(format!("there is an access rule like {}, or one with its id", record.id));
        }
        let patterns = self.by_type.entry(acl.resource_type).or_default();
        patterns.of_mut(acl.pattern_type).entry(acl.name.clone()).or_default().push(Rule::of(&acl));
        self.by_id.insert(record.id, Arc::clone(&acl));
        self.ids.insert(acl, record.id);
        Ok(())
    }

    pub(super) fn remove(&mut self, record: &RemoveAccessControlEntryRecord) -> Result<(), String> {
        let acl =
            self.by_id.remove(&record.id).ok_or_else(|| format!("there is no access rule {}", record.id))?;
        self.ids.remove(&acl);
        let Some(patterns) = self.by_type.get_mut(&acl.resource_type) else { return Ok(()) };
        let by_name = patterns.of_mut(acl.pattern_type);
        if let Some(rules) = by_name.get_mut(acl.name.as_bytes().as_ref()) {
            // Two rules that differ only in how a host is written are one here; one of them stays.
            let rule = Rule::of(&acl);
            if let Some(at) = rules.iter().position(|it| *it == rule) {
                rules.remove(at);
            }
            if rules.is_empty() {
                by_name.remove(acl.name.as_bytes().as_ref());
            }
        }
        if patterns.literal.is_empty() && patterns.prefixed.is_empty() {
            self.by_type.remove(&acl.resource_type);
        }
        Ok(())
    }
}

/// The rules for one type of resource, by the names in them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Patterns {
    literal: BTreeMap<Str, Vec<Rule>>,
    prefixed: BTreeMap<Str, Vec<Rule>>,
}

impl Patterns {
    fn of_mut(&mut self, pattern_type: PatternType) -> &mut BTreeMap<Str, Vec<Rule>> {
        match pattern_type {
            PatternType::Literal => &mut self.literal,
            PatternType::Prefixed => &mut self.prefixed,
        }
    }

    /// The rules that match `name`.
    fn speaking_of<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Vec<Rule>> {
        let literal = self.literal.get(name);
        let all = self.literal.get(WILDCARD.as_bytes()).filter(|_| name != WILDCARD.as_bytes());
        literal.into_iter().chain(all).chain(prefixes_of(&self.prefixed, name).map(|(_, rules)| rules))
    }
}

/// The entries whose keys `name` begins with, longest first. Takes at most a step for each byte of `name`, however many
/// entries there are.
fn prefixes_of<'a, T>(
    entries: &'a BTreeMap<Str, T>,
    name: &'a [u8],
) -> impl Iterator<Item = (&'a Str, &'a T)> {
    let mut below = Included(name);
    std::iter::from_fn(move || {
        loop {
            let (key, value) = entries.range::<[u8], _>((Unbounded, below)).next_back()?;
            let common = key.as_bytes().iter().zip(name).take_while(|(a, b)| a == b).count();
            if common == key.len() {
                below = Excluded(&name[..common]);
                return Some((key, value));
            }
            // What is left to find is no longer than what they share: it comes before `key`, and so does this.
            below = Included(&name[..common]);
        }
    })
}

/// A rule as it is asked: of the resources that it is kept for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Rule {
    users: Users,
    hosts: Hosts,
    operation: Operation,
    permission: Permission,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Users {
    All,
    One(Str),
    /// Principals of a type that nobody is of here.
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hosts {
    All,
    One(IpAddr),
    /// What is written there is no address, so that nobody comes from it.
    None,
}

impl Rule {
    fn of(acl: &Acl) -> Self {
        let users = match acl.principal.strip_prefix(USER) {
            Some(WILDCARD) => Users::All,
            Some(name) => Users::One(Str::from(name)),
            None => Users::None,
        };
        let hosts = match &*acl.host {
            WILDCARD => Hosts::All,
            address => address.parse().map_or(Hosts::None, |it: IpAddr| Hosts::One(it.to_canonical())),
        };
        Self { users, hosts, operation: acl.operation, permission: acl.permission }
    }

    fn is_for(&self, who: Who<'_>) -> bool {
        let user = match &self.users {
            Users::All => true,
            Users::One(name) => *name == *who.user,
            Users::None => false,
        };
        user && match self.hosts {
            Hosts::All => true,
            Hosts::One(address) => address == who.address,
            Hosts::None => false,
        }
    }

    /// What it says of `operation`, if anything.
    fn says(&self, who: Who<'_>, operation: Operation) -> Option<Permission> {
        let is_about = self.operation == Operation::All
            || match self.permission {
                Permission::Allow => self.operation.implies(operation),
                Permission::Deny => self.operation == operation,
            };
        (is_about && self.is_for(who)).then_some(self.permission)
    }
}

/// Which rules are meant (`AclBindingFilter`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AclFilter {
    resource_type: Option<ResourceType>,
    name: Option<Str>,
    pattern: PatternFilter,
    principal: Option<Str>,
    host: Option<Str>,
    operation: Option<Operation>,
    permission: Option<Permission>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PatternFilter {
    /// Patterns of any type with the very name.
    Any,
    /// Patterns that match a resource of the name.
    Match,
    /// Patterns of one type with the very name.
    Only(PatternType),
}

/// A filter as it is asked for: numbers of which 1 is any, and of a pattern 2 whatever matches.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterNumbers {
    pub(crate) resource_type: i8,
    pub(crate) name: Option<Str>,
    pub(crate) pattern_type: i8,
    pub(crate) principal: Option<Str>,
    pub(crate) host: Option<Str>,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

impl AclFilter {
    /// The filter of these numbers; what one is unknown otherwise.
    pub(crate) fn of(numbers: FilterNumbers) -> Result<Self, String> {
        /// Any, in all of them.
        const ANY: i8 = 1;
        /// What matches, of pattern types.
        const MATCH: i8 = 2;
        fn known<T>(number: i8, of: fn(i8) -> Option<T>, what: &str) -> Result<Option<T>, String> {
            match number {
                ANY => Ok(None),
                other => of(other).map(Some).ok_or_else(|| format!("there is no {what} `{other}`")),
            }
        }
        let FilterNumbers { resource_type, name, pattern_type, principal, host, operation, permission } =
            numbers;
        Ok(Self {
            resource_type: known(resource_type, ResourceType::of, "resource type")?,
            name,
            pattern: match pattern_type {
                MATCH => PatternFilter::Match,
                other => known(other, PatternType::of, "pattern type")?
                    .map_or(PatternFilter::Any, PatternFilter::Only),
            },
            principal,
            host,
            operation: known(operation, Operation::of, "operation")?,
            permission: known(permission, Permission::of, "permission type")?,
        })
    }

    /// Whether it means `acl`.
    pub(crate) fn matches(&self, acl: &Acl) -> bool {
        fn is<T: PartialEq>(asked: Option<&T>, found: &T) -> bool {
            asked.is_none_or(|asked| asked == found)
        }
        is(self.resource_type.as_ref(), &acl.resource_type)
            && self.matches_pattern(acl)
            && is(self.principal.as_ref(), &acl.principal)
            && is(self.host.as_ref(), &acl.host)
            && is(self.operation.as_ref(), &acl.operation)
            && is(self.permission.as_ref(), &acl.permission)
    }

    fn matches_pattern(&self, acl: &Acl) -> bool {
        match (self.pattern, &self.name) {
            (PatternFilter::Only(only), _) if only != acl.pattern_type => false,
            (_, None) => true,
            (PatternFilter::Match, Some(name)) => match acl.pattern_type {
                PatternType::Literal => *name == acl.name || acl.name == WILDCARD,
                PatternType::Prefixed => name.starts_with(&*acl.name),
            },
            (PatternFilter::Any | PatternFilter::Only(_), Some(name)) => *name == acl.name,
        }
    }
}

#[cfg(test)]
#[path = "acls/tests.rs"]
mod tests;
