//! `ottla acl`: list, add, remove. The names of all flags are those of `kafka-acls`.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use anyhow::{bail, ensure};
use clap::{Subcommand, ValueEnum};
use ottla::{
    AclBinding, AclFilter, AclOperation, AclPermission, Admin, PatternFilter, PatternType, ResourceType,
    config::AdminConfig,
};
use serde_json::json;

use crate::{
    client::{self, ClientArgs},
    table,
};

/// List, add and remove access rules: who may or may not do what, with which resources.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON, an object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// List rules: all of them, or those for some resources or principals.
    List {
        #[command(flatten)]
        resources: Resources,
        /// Only rules for this principal, as `User:alice`; may be given more than once.
        #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
        principal: Vec<String>,
    },
    /// Add rules: for each resource, principal, host and operation that is named.
    Add {
        #[command(flatten)]
        resources: Resources,
        #[command(flatten)]
        rules: Rules,
    },
    /// Remove rules, and print them. Without a principal, all that the resources have, which takes `--force`.
    Remove {
        #[command(flatten)]
        resources: Resources,
        #[command(flatten)]
        rules: Rules,
        /// Remove all rules of the resources.
        #[arg(long)]
        force: bool,
    },
}

#[derive(clap::Args)]
struct Resources {
    /// A topic; `*` for all. May be given more than once, as the others.
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// A group; `*` for all.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// The cluster.
    #[arg(long)]
    cluster: bool,
    /// A transactional id; `*` for all.
    #[arg(long, value_name = "ID")]
    transactional_id: Vec<String>,
    /// A delegation token; `*` for all.
    #[arg(long, value_name = "TOKEN")]
    delegation_token: Vec<String>,
    /// A user whose tokens others may make or see, as `User:alice`.
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    user_principal: Vec<String>,
    /// How the resources' names are meant. `prefixed`: whatever begins so. To list and to remove also `match`: rules of any
    /// pattern that speak of the resource; and `any`: rules of any pattern with the very name.
    #[arg(long, value_enum, default_value_t = Pattern::Literal)]
    resource_pattern_type: Pattern,
}

#[derive(clap::Args)]
struct Rules {
    /// Who may, as `User:alice`; `User:*` for everybody.
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    allow_principal: Vec<String>,
    /// Who may not, whatever else is said.
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    deny_principal: Vec<String>,
    /// The address from which they may; without it, from everywhere.
    #[arg(long, value_name = "ADDRESS", value_parser = host, requires = "allow_principal")]
    allow_host: Vec<String>,
    /// The address from which they may not; without it, from nowhere.
    #[arg(long, value_name = "ADDRESS", value_parser = host, requires = "deny_principal")]
    deny_host: Vec<String>,
    /// What they may do, as `Read`; without it, everything.
    #[arg(long, value_name = "OPERATION", value_parser = operation)]
    operation: Vec<AclOperation>,
    /// What a producer needs: write, describe and create topics; write and describe transactional ids.
    #[arg(long, conflicts_with_all = ["operation", "deny_principal"])]
    producer: bool,
    /// What a member of a group needs: read and describe topics, read the group.
    #[arg(long, conflicts_with_all = ["operation", "deny_principal"])]
    consumer: bool,
    /// With `--producer`: also to write idempotently with no topic to write to.
    #[arg(long, requires = "producer")]
    idempotent: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Pattern {
    Literal,
    Prefixed,
    Match,
    Any,
}

impl From<Pattern> for PatternFilter {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Literal => Self::Only(PatternType::Literal),
            Pattern::Prefixed => Self::Only(PatternType::Prefixed),
            Pattern::Match => Self::Match,
            Pattern::Any => Self::Any,
        }
    }
}

fn principal(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("write it as `User:{text}`")),
    }
}

fn host(text: &str) -> Result<String, String> {
    match text == "*" || text.parse::<IpAddr>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("a rule knows addresses, and `*` for all, but no names".to_owned()),
    }
}

fn operation(text: &str) -> Result<AclOperation, String> {
    AclOperation::named(text).ok_or_else(|| {
        let all: Vec<_> = AclOperation::ALL.iter().map(|it| it.name()).collect();
        format!("there are {}", all.join(", "))
    })
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // What is wrong with the command is said before there is a connection.
    let (added, filters) = match &args.verb {
        Verb::List { resources, principal } => (Vec::new(), resources.filters(principal)),
        Verb::Add { resources, rules } => (rules.bindings(resources)?, Vec::new()),
        Verb::Remove { resources, rules, force } => (Vec::new(), rules.filters(resources, *force)?),
    };
    client::run(async {
        let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
        let admin = Admin::new(config)?;
        match &args.verb {
            Verb::List { .. } => list(&admin, filters, args.json).await,
            Verb::Add { .. } => add(&admin, added, args.json).await,
            Verb::Remove { .. } => remove(&admin, filters, args.json).await,
        }
    })
}

async fn list(admin: &Admin, filters: Vec<AclFilter>, json: bool) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for filter in filters {
        found.extend(admin.describe_acls(filter).await?);
    }
    print(found, json)
}

async fn add(admin: &Admin, acls: Vec<AclBinding>, json: bool) -> anyhow::Result<()> {
    let mut added = Vec::new();
    for (acl, outcome) in admin.create_acls(acls).await? {
        outcome?;
        added.push(acl);
    }
    print(added, json)
}

async fn remove(admin: &Admin, filters: Vec<AclFilter>, json: bool) -> anyhow::Result<()> {
    let mut removed = Vec::new();
    for found in admin.delete_acls(filters).await? {
        removed.extend(found?);
    }
    ensure!(!removed.is_empty(), "there is no such access rule; `ottla acl list` shows which there are");
    print(removed, json)
}

/// Prints rules, each once.
fn print(mut acls: Vec<AclBinding>, json: bool) -> anyhow::Result<()> {
    acls.sort_unstable();
    acls.dedup();
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for acl in acls {
        if json {
            let fields = json!({
                "resourceType": acl.resource_type.to_string(),
                "resourceName": acl.resource_name,
                "patternType": acl.pattern_type.to_string(),
                "principal": acl.principal,
                "host": acl.host,
                "operation": acl.operation.to_string(),
                "permissionType": acl.permission.to_string(),
            });
            writeln!(out, "{fields}")?;
        } else {
            rows.push([
                acl.permission.to_string(),
                acl.principal.escape_debug().to_string(),
                acl.host.escape_debug().to_string(),
                acl.operation.to_string(),
                acl.resource_type.to_string(),
                acl.pattern_type.to_string(),
                acl.resource_name.escape_debug().to_string(),
            ]);
        }
    }
    let headings = ["permission", "principal", "host", "operation", "resource", "pattern", "name"];
    table::print(&mut out, headings, &rows)?;
    Ok(())
}

impl Resources {
    /// Those that are named, by type.
    fn named(&self) -> Vec<(ResourceType, String)> {
        let each = |kind: ResourceType, names: &[String]| {
            names.iter().map(|name| (kind, name.clone())).collect::<Vec<_>>()
        };
        let mut named = each(ResourceType::Topic, &self.topic);
        named.extend(each(ResourceType::Group, &self.group));
        if self.cluster {
            named.push((ResourceType::Cluster, AclBinding::CLUSTER.to_owned()));
        }
        named.extend(each(ResourceType::TransactionalId, &self.transactional_id));
        named.extend(each(ResourceType::DelegationToken, &self.delegation_token));
        named.extend(each(ResourceType::User, &self.user_principal));
        named
    }

    /// Filters for the resources, or for all if none is named; and for each principal, if any is.
    fn filters(&self, principals: &[String]) -> Vec<AclFilter> {
        let mut filters: Vec<AclFilter> =
            self.named().into_iter().map(|(kind, name)| self.filter(kind, name)).collect();
        if filters.is_empty() {
            filters.push(AclFilter::default());
        }
        if principals.is_empty() {
            return filters;
        }
        let with = |filter: &AclFilter, principal: &String| AclFilter {
            principal: Some(principal.clone()),
            ..filter.clone()
        };
        filters.iter().flat_map(|filter| principals.iter().map(|principal| with(filter, principal))).collect()
    }

    fn filter(&self, kind: ResourceType, name: String) -> AclFilter {
        AclFilter {
            resource_type: Some(kind),
            resource_name: Some(name),
            // The cluster has one name, which is no prefix.
            pattern: match kind {
                ResourceType::Cluster => PatternFilter::Any,
                _ => self.resource_pattern_type.into(),
            },
            ..AclFilter::default()
        }
    }
}

impl Rules {
    /// What is said of each resource: who, from where, and whether they may.
    fn whom(&self) -> Vec<(AclPermission, &str, &str)> {
        let mut whom = Vec::new();
        for (permission, principals, hosts) in [
            (AclPermission::Allow, &self.allow_principal, &self.allow_host),
            (AclPermission::Deny, &self.deny_principal, &self.deny_host),
        ] {
            for principal in principals {
                match hosts.is_empty() {
                    true => whom.push((permission, principal.as_str(), "*")),
                    false => {
                        whom.extend(hosts.iter().map(|host| (permission, principal.as_str(), host.as_str())))
                    }
                }
            }
        }
        whom
    }

    /// What is said about a resource of this type.
    fn operations(&self, kind: ResourceType) -> Vec<AclOperation> {
        use AclOperation as O;
        let mut operations = self.operation.clone();
        if self.producer {
            operations.extend_from_slice(match kind {
                ResourceType::Topic => &[O::Write, O::Describe, O::Create],
                ResourceType::TransactionalId => &[O::Write, O::Describe],
                _ => &[],
            });
        }
        if self.consumer {
            operations.extend_from_slice(match kind {
                ResourceType::Topic => &[O::Read, O::Describe],
                ResourceType::Group => &[O::Read],
                _ => &[],
            });
        }
        if operations.is_empty() && !self.producer && !self.consumer {
            operations.push(O::All);
        }
        operations.sort_unstable();
        operations.dedup();
        operations
    }

    fn check(&self, resources: &Resources) -> anyhow::Result<()> {
        ensure!(
            !resources.named().is_empty() || self.idempotent,
            "name what the rules are for: `--topic`, `--group`, `--cluster`, `--transactional-id`, \
             `--delegation-token` or `--user-principal`"
        );
        if self.producer
            && resources.topic.is_empty()
            && resources.transactional_id.is_empty()
            && !self.idempotent
        {
            bail!("`--producer` is about topics; name one by `--topic`");
        }
        if self.consumer && (resources.topic.is_empty() || resources.group.is_empty()) {
            bail!("`--consumer` is about topics and a group; name both by `--topic` and `--group`");
        }
        Ok(())
    }

    /// The resources, and what is said about each.
    fn about(&self, resources: &Resources) -> Vec<(ResourceType, String, AclOperation)> {
        let mut about = Vec::new();
        for (kind, name) in resources.named() {
            about.extend(self.operations(kind).into_iter().map(|operation| (kind, name.clone(), operation)));
        }
        if self.idempotent {
            about.push((
                ResourceType::Cluster,
                AclBinding::CLUSTER.to_owned(),
                AclOperation::IdempotentWrite,
            ));
        }
        about
    }

    fn bindings(&self, resources: &Resources) -> anyhow::Result<Vec<AclBinding>> {
        self.check(resources)?;
        let pattern_type = match resources.resource_pattern_type {
            Pattern::Literal => PatternType::Literal,
            Pattern::Prefixed => PatternType::Prefixed,
            Pattern::Match | Pattern::Any => {
                bail!("`--resource-pattern-type` of a new rule is `literal` or `prefixed`")
            }
        };
        let whom = self.whom();
        ensure!(!whom.is_empty(), "say who, by `--allow-principal` or `--deny-principal`");
        let mut bindings = Vec::new();
        for (resource_type, resource_name, operation) in self.about(resources) {
            bindings.extend(whom.iter().map(|&(permission, principal, host)| AclBinding {
                resource_type,
                resource_name: resource_name.clone(),
                // The cluster has one name, which is no prefix.
                pattern_type: match resource_type {
                    ResourceType::Cluster => PatternType::Literal,
                    _ => pattern_type,
                },
                principal: principal.to_owned(),
                host: host.to_owned(),
                operation,
                permission,
            }));
        }
        Ok(bindings)
    }

    fn filters(&self, resources: &Resources, force: bool) -> anyhow::Result<Vec<AclFilter>> {
        self.check(resources)?;
        let whom = self.whom();
        if whom.is_empty() {
            ensure!(
                self.operation.is_empty() && !self.producer && !self.consumer,
                "say whose rules go, by `--allow-principal` or `--deny-principal`"
            );
            ensure!(
                force,
                "this removes all rules of the resources; say whose by `--allow-principal` or \
                 `--deny-principal`, or add `--force`"
            );
            return Ok(resources.filters(&[]));
        }
        let mut filters = Vec::new();
        for (kind, name, operation) in self.about(resources) {
            filters.extend(whom.iter().map(|&(permission, principal, host)| AclFilter {
                principal: Some(principal.to_owned()),
                host: Some(host.to_owned()),
                operation: Some(operation),
                permission: Some(permission),
                ..resources.filter(kind, name.clone())
            }));
        }
        Ok(filters)
    }
}
