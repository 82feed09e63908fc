//! Access rules: who may or may not do what, with which resources (KIP-140, KIP-290).

use std::fmt;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        create_acls::{AclCreation, CreateAclsRequest},
        delete_acls::{DeleteAclsFilter, DeleteAclsMatchingAcl, DeleteAclsRequest},
        describe_acls::{DescribeAclsRequest, DescribeAclsResponse},
    },
    types::Str,
};

use super::{Admin, Target, controller_moved, outcome};
use crate::error::{Error, Result};

/// Declares enums whose values have numbers and names.
macro_rules! numbered {
    ($($(#[$doc:meta])* enum $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
            /// One that this release has no name for, by its number: a rule that is not understood is still one.
            Unknown(i8),
        }

        impl $name {
            /// All that have names.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// As `kafka-acls` prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                    Self::Unknown(_) => "UNKNOWN",
                }
            }

            /// The one of this name: of any case, and with or without `_` and `-`, as `DescribeConfigs`.
            pub fn named(name: &str) -> Option<Self> {
                let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_uppercase();
                let wanted = plain(name);
                Self::ALL.iter().copied().find(|it| plain(it.name()) == wanted)
            }

            const fn of(number: i8) -> Self {
                match number {
                    $($number => Self::$value,)*
                    other => Self::Unknown(other),
                }
            }

            const fn number(self) -> i8 {
                match self {
                    $(Self::$value => $number,)*
                    Self::Unknown(number) => number,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Unknown(number) => write!(f, "UNKNOWN({number})"),
                    known => f.write_str(known.name()),
                }
            }
        }
    )*};
}

numbered! {
    /// What a rule guards (Kafka's `ResourceType`).
    enum ResourceType {
        /// A topic.
        Topic = 2, "TOPIC";
        /// A group.
        Group = 3, "GROUP";
        /// The cluster; its name is [`AclBinding::CLUSTER`].
        Cluster = 4, "CLUSTER";
        /// A transactional id.
        TransactionalId = 5, "TRANSACTIONAL_ID";
        /// A delegation token.
        DelegationToken = 6, "DELEGATION_TOKEN";
        /// A user.
        User = 7, "USER";
    }

    /// How a rule's resource name is matched (Kafka's `PatternType`).
    enum PatternType {
        /// The resource of this very name; `*` stands for all.
        Literal = 3, "LITERAL";
        /// All whose names begin so.
        Prefixed = 4, "PREFIXED";
    }

    /// What a rule is about (Kafka's `AclOperation`).
    enum AclOperation {
        /// Everything.
        All = 2, "ALL";
        /// Reading a topic; being in a group.
        Read = 3, "READ";
        /// Writing.
        Write = 4, "WRITE";
        /// Making topics.
        Create = 5, "CREATE";
        /// Deleting.
        Delete = 6, "DELETE";
        /// Changing.
        Alter = 7, "ALTER";
        /// Seeing.
        Describe = 8, "DESCRIBE";
        /// What brokers do among themselves.
        ClusterAction = 9, "CLUSTER_ACTION";
        /// Seeing configurations.
        DescribeConfigs = 10, "DESCRIBE_CONFIGS";
        /// Changing configurations.
        AlterConfigs = 11, "ALTER_CONFIGS";
        /// Writing idempotently; who may write somewhere needs no rule for it.
        IdempotentWrite = 12, "IDEMPOTENT_WRITE";
        /// Making tokens for another user.
        CreateTokens = 13, "CREATE_TOKENS";
        /// Seeing tokens of another user.
        DescribeTokens = 14, "DESCRIBE_TOKENS";
        /// Transactions of two phases (KIP-939).
        TwoPhaseCommit = 15, "TWO_PHASE_COMMIT";
    }

    /// What a rule says (Kafka's `AclPermissionType`).
    enum AclPermission {
        /// May not, whatever other rules say.
        Deny = 2, "DENY";
        /// May.
        Allow = 3, "ALLOW";
    }
}

/// A rule: `principal` may, or may not, do `operation` with resources, if it comes from `host`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AclBinding {
    /// What it guards.
    pub resource_type: ResourceType,
    /// The resource's name, its beginning, or `*`.
    pub resource_name: String,
    /// How the name is matched.
    pub pattern_type: PatternType,
    /// As `User:alice`; `User:*` for everybody.
    pub principal: String,
    /// An IP address; `*` for all.
    pub host: String,
    /// What it is about.
    pub operation: AclOperation,
    /// What it says.
    pub permission: AclPermission,
}

impl AclBinding {
    /// The one name that a cluster has.
    pub const CLUSTER: &'static str = "kafka-cluster";

    /// Lets a principal, as `User:alice`, do something with the resource of a name, from everywhere.
    pub fn allow(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: ResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        Self {
            resource_type,
            resource_name: resource_name.into(),
            pattern_type: PatternType::Literal,
            principal: principal.into(),
            host: "*".to_owned(),
            operation,
            permission: AclPermission::Allow,
        }
    }

    /// As [`Self::allow`], and forbids it.
    pub fn deny(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: ResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        Self {
            permission: AclPermission::Deny,
            ..Self::allow(principal, operation, resource_type, resource_name)
        }
    }

    /// The same for all resources whose names begin so.
    #[must_use]
    pub fn prefixed(mut self) -> Self {
        self.pattern_type = PatternType::Prefixed;
        self
    }

    /// The same for who comes from one address.
    #[must_use]
    pub fn from_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }
}

/// Which patterns a filter means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PatternFilter {
    /// Patterns of either type, of the very name.
    #[default]
    Any,
    /// Patterns that match a resource of the name.
    Match,
    /// Patterns of one type, of the very name.
    Only(PatternType),
}

/// Which rules are meant: those that have all that is set. By default, all rules.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct AclFilter {
    /// What they guard.
    pub resource_type: Option<ResourceType>,
    /// The name in them, or with [`PatternFilter::Match`] of a resource.
    pub resource_name: Option<String>,
    /// How names are matched.
    pub pattern: PatternFilter,
    /// Who they are about, as it stands there: rules for `User:*` are only found by that.
    pub principal: Option<String>,
    /// The host in them.
    pub host: Option<String>,
    /// What they are about.
    pub operation: Option<AclOperation>,
    /// What they say.
    pub permission: Option<AclPermission>,
}

/// "Any", in every number of a filter.
const ANY: i8 = 1;
/// "Whatever matches", of a filter's pattern type.
const MATCH: i8 = 2;

impl AclFilter {
    fn numbers(&self) -> (i8, i8, i8, i8) {
        let pattern_type = match self.pattern {
            PatternFilter::Any => ANY,
            PatternFilter::Match => MATCH,
            PatternFilter::Only(pattern_type) => pattern_type.number(),
        };
        (
            self.resource_type.map_or(ANY, ResourceType::number),
            pattern_type,
            self.operation.map_or(ANY, AclOperation::number),
            self.permission.map_or(ANY, AclPermission::number),
        )
    }
}

impl Admin {
    /// Adds rules; an outcome for each, in order. One that there is already is as good as added.
    ///
    /// # Errors
    ///
    /// Of a rule, `SECURITY_DISABLED` where the broker has no authorizer (`authorizer.class.name`).
    pub async fn create_acls(
        &self,
        acls: impl IntoIterator<Item = AclBinding>,
    ) -> Result<Vec<(AclBinding, Result<()>)>> {
        let acls: Vec<_> = acls.into_iter().collect();
        let creation = |acl: &AclBinding| AclCreation {
            resource_type: acl.resource_type.number(),
            resource_name: Str::from(&acl.resource_name),
            resource_pattern_type: acl.pattern_type.number(),
            principal: Str::from(&acl.principal),
            host: Str::from(&acl.host),
            operation: acl.operation.number(),
            permission_type: acl.permission.number(),
        };
        let request = CreateAclsRequest { creations: acls.iter().map(creation).collect() };
        let check = |response: &ottla_protocol::messages::create_acls::CreateAclsResponse| {
            controller_moved(response.results.iter().map(|result| result.error_code))
        };
        let response = self.ask(Target::Controller, request, check).await?;
        let mut results = response.results.into_iter();
        let outcome_of = |acl: AclBinding| {
            let doing = || format!("add an access rule for `{}`", acl.principal);
            let result = match results.next() {
                Some(result) => {
                    outcome(result.error_code, result.error_message.as_deref(), doing).map_err(explained)
                }
                None => Err(Error::broker(ErrorCode::UNKNOWN_SERVER_ERROR, Some("it answered fewer rules"))
                    .context(doing())),
            };
            (acl, result)
        };
        Ok(acls.into_iter().map(outcome_of).collect())
    }

    /// The rules that a filter means.
    ///
    /// # Errors
    ///
    /// `SECURITY_DISABLED` where the broker has no authorizer (`authorizer.class.name`).
    pub async fn describe_acls(&self, filter: AclFilter) -> Result<Vec<AclBinding>> {
        let (resource_type_filter, pattern_type_filter, operation, permission_type) = filter.numbers();
        let request = DescribeAclsRequest {
            resource_type_filter,
            resource_name_filter: filter.resource_name.map(Str::from),
            pattern_type_filter,
            principal_filter: filter.principal.map(Str::from),
            host_filter: filter.host.map(Str::from),
            operation,
            permission_type,
        };
        let check = |response: &DescribeAclsResponse| {
            let message = response.error_message.as_deref();
            outcome(response.error_code, message, || "list access rules".to_owned())
        };
        let response = self.ask(Target::Any, request, check).await.map_err(explained)?;
        let mut acls = Vec::new();
        for resource in response.resources {
            acls.extend(resource.acls.into_iter().map(|acl| AclBinding {
                resource_type: ResourceType::of(resource.resource_type),
                resource_name: resource.resource_name.to_string(),
                pattern_type: PatternType::of(resource.pattern_type),
                principal: acl.principal.to_string(),
                host: acl.host.to_string(),
                operation: AclOperation::of(acl.operation),
                permission: AclPermission::of(acl.permission_type),
            }));
        }
        acls.sort_unstable();
        Ok(acls)
    }

    /// Removes the rules that filters mean; for each filter, in order, those that it found.
    ///
    /// # Errors
    ///
    /// Of a filter, `SECURITY_DISABLED` where the broker has no authorizer (`authorizer.class.name`).
    pub async fn delete_acls(
        &self,
        filters: impl IntoIterator<Item = AclFilter>,
    ) -> Result<Vec<Result<Vec<AclBinding>>>> {
        let filter = |filter: AclFilter| {
            let (resource_type_filter, pattern_type_filter, operation, permission_type) = filter.numbers();
            DeleteAclsFilter {
                resource_type_filter,
                resource_name_filter: filter.resource_name.map(Str::from),
                pattern_type_filter,
                principal_filter: filter.principal.map(Str::from),
                host_filter: filter.host.map(Str::from),
                operation,
                permission_type,
            }
        };
        let request = DeleteAclsRequest { filters: filters.into_iter().map(filter).collect() };
        let check = |response: &ottla_protocol::messages::delete_acls::DeleteAclsResponse| {
            controller_moved(response.filter_results.iter().map(|result| result.error_code))
        };
        let response = self.ask(Target::Controller, request, check).await?;
        let doing = || "remove access rules".to_owned();
        let results = response.filter_results.into_iter().map(|result| -> Result<Vec<AclBinding>> {
            outcome(result.error_code, result.error_message.as_deref(), doing).map_err(explained)?;
            let acl = |acl: DeleteAclsMatchingAcl| -> Result<AclBinding> {
                outcome(acl.error_code, acl.error_message.as_deref(), doing)?;
                Ok(AclBinding {
                    resource_type: ResourceType::of(acl.resource_type),
                    resource_name: acl.resource_name.to_string(),
                    pattern_type: PatternType::of(acl.pattern_type),
                    principal: acl.principal.to_string(),
                    host: acl.host.to_string(),
                    operation: AclOperation::of(acl.operation),
                    permission: AclPermission::of(acl.permission_type),
                })
            };
            result.matching_acls.into_iter().map(acl).collect()
        });
        Ok(results.collect())
    }
}

/// Says what to do about a broker that looks at no rules.
fn explained(error: Error) -> Error {
    match error.code() {
        Some(ErrorCode::SECURITY_DISABLED) => {
            error.hint("set `authorizer.class.name` to `StandardAuthorizer` in the broker's configuration, and `super.users`")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_kafkas_tools_and_people_write_them() {
        for name in ["DescribeConfigs", "DESCRIBE_CONFIGS", "describe-configs"] {
            assert_eq!(AclOperation::named(name), Some(AclOperation::DescribeConfigs), "{name}");
        }
        assert_eq!(ResourceType::named("transactional-id"), Some(ResourceType::TransactionalId));
        assert_eq!(PatternType::named("prefixed"), Some(PatternType::Prefixed));
        assert_eq!(AclPermission::named("unknown"), None);
    }

    #[test]
    fn a_number_without_a_name_is_kept() {
        assert_eq!(AclOperation::of(16).number(), 16);
        assert_eq!(AclOperation::of(16).to_string(), "UNKNOWN(16)");
        for operation in AclOperation::ALL {
            assert_eq!(AclOperation::of(operation.number()), *operation);
        }
    }
}
