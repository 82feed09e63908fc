//! Configurations of topics and brokers: describe and change.

use std::{collections::BTreeMap, fmt};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{alter_configs, describe_configs, incremental_alter_configs},
    types::{BrokerId, Str},
};

use super::{Admin, Target, controller_moved, outcome};
use crate::error::{Error, ErrorKind, Result};

/// What has a configuration.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(BrokerId),
    /// The defaults of all brokers, as changed while they run.
    BrokerDefaults,
    /// A group, whether or not there is one of this name yet.
    Group(String),
    /// Another kind of resource, by its number and name on the wire: a broker's loggers (8), client metrics (16).
    Other(i8, String),
}

impl ConfigResource {
    fn on_the_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(id) => (4, id.to_string()),
            Self::BrokerDefaults => (4, String::new()),
            Self::Group(name) => (32, name.clone()),
            Self::Other(kind, name) => (*kind, name.clone()),
        }
    }

    /// The broker that must be asked: what concerns one alone is known to that one.
    fn broker(&self) -> Option<BrokerId> {
        match self {
            Self::Broker(id) => Some(*id),
            Self::Other(8, name) => name.parse().ok().map(BrokerId),
            Self::Topic(_) | Self::BrokerDefaults | Self::Group(_) | Self::Other(..) => None,
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic `{name}`"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::BrokerDefaults => write!(f, "all brokers"),
            Self::Group(name) => write!(f, "group `{name}`"),
            Self::Other(kind, name) => write!(f, "resource `{name}` of kind {kind}"),
        }
    }
}

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` where it is sensitive, or there is none.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// It cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// The broker does not show the value, as with passwords.
    pub is_sensitive: bool,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set for the topic.
    Topic,
    /// Set for this broker while it ran.
    DynamicBroker,
    /// Set for all brokers while they ran.
    DynamicBrokerDefault,
    /// Written in the broker's file.
    StaticBroker,
    /// The default.
    Default,
    /// Set for the broker's logger.
    BrokerLogger,
    /// Set for the group.
    Group,
    /// Another one, by its number on the wire.
    Other(i8),
}

impl ConfigSource {
    fn read(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicBrokerDefault,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::BrokerLogger,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }
}

/// A change to one key of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterConfig {
    /// The key.
    pub name: String,
    /// What to do with it.
    pub operation: ConfigOperation,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigOperation {
    /// Set it.
    Set(String),
    /// Go back to what holds without it.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take off a list.
    Subtract(String),
}

impl AlterConfig {
    /// Sets a key.
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), operation: ConfigOperation::Set(value.into()) }
    }

    /// Takes a key back.
    pub fn delete(name: impl Into<String>) -> Self {
        Self { name: name.into(), operation: ConfigOperation::Delete }
    }
}

impl Admin {
    /// The configurations of these resources, every key with its value and source.
    pub async fn describe_configs(
        &self,
        resources: impl IntoIterator<Item = ConfigResource>,
    ) -> Result<Vec<(ConfigResource, Result<Vec<ConfigEntry>>)>> {
        let resources: Vec<ConfigResource> = resources.into_iter().collect();
        let mut results = Vec::new();
        for (broker, group) in by_broker(&resources) {
            let resource = |resource: &&ConfigResource| {
                let (resource_type, resource_name) = resource.on_the_wire();
                let resource_name = resource_name.into();
                describe_configs::DescribeConfigsResource {
                    resource_type,
                    resource_name,
                    configuration_keys: None,
                }
            };
            let request = describe_configs::DescribeConfigsRequest {
                resources: group.iter().map(resource).collect(),
                ..Default::default()
            };
            let response = self.ask(Target::of(broker), request, |_| Ok(())).await?;
            results.extend(response.results);
        }
        let mut take = |wanted: &ConfigResource| {
            let (kind, name) = wanted.on_the_wire();
            let at = results
                .iter()
                .position(|result| result.resource_type == kind && *result.resource_name == *name)
                .ok_or_else(left_out)?;
            let result = results.swap_remove(at);
            let message = result.error_message.as_deref();
            outcome(result.error_code, message, || format!("describe configuration of {wanted}"))?;
            Ok(result.configs.into_iter().map(entry).collect())
        };
        let outcomes: Vec<_> = resources.iter().map(&mut take).collect();
        Ok(resources.into_iter().zip(outcomes).collect())
    }

    /// Changes single keys (KIP-339), or with `validate_only` says whether they could be.
    pub async fn incremental_alter_configs(
        &self,
        changes: impl IntoIterator<Item = (ConfigResource, Vec<AlterConfig>)>,
        validate_only: bool,
    ) -> Result<Vec<(ConfigResource, Result<()>)>> {
        use incremental_alter_configs::{
            AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
        };
        let changes: Vec<(ConfigResource, Vec<AlterConfig>)> = changes.into_iter().collect();
        let resources: Vec<ConfigResource> = changes.iter().map(|(resource, _)| resource.clone()).collect();
        let config = |change: &AlterConfig| {
            let (config_operation, value) = match &change.operation {
                ConfigOperation::Set(value) => (0, Some(value)),
                ConfigOperation::Delete => (1, None),
                ConfigOperation::Append(value) => (2, Some(value)),
                ConfigOperation::Subtract(value) => (3, Some(value)),
            };
            let value = value.map(|value| value.as_str().into());
            AlterableConfig { name: change.name.as_str().into(), config_operation, value }
        };
        let mut results = Vec::new();
        for (broker, group) in by_broker(&resources) {
            let resource = |resource: &&ConfigResource| {
                let (resource_type, resource_name) = resource.on_the_wire();
                let of_it = changes.iter().filter(|(other, _)| other == *resource);
                AlterConfigsResource {
                    resource_type,
                    resource_name: resource_name.into(),
                    configs: of_it.flat_map(|(_, changes)| changes).map(config).collect(),
                }
            };
            let request = IncrementalAlterConfigsRequest {
                resources: group.iter().map(resource).collect(),
                validate_only,
            };
            let response = self
                .ask(Target::of(broker), request, |response| {
                    controller_moved(response.responses.iter().map(|resource| resource.error_code))
                })
                .await?;
            results.extend(response.responses.into_iter().map(|result| Altered {
                resource_type: result.resource_type,
                resource_name: result.resource_name,
                code: result.error_code,
                message: result.error_message,
            }));
        }
        Ok(altered(resources, results))
    }

    /// Replaces whole configurations: keys that are not named go back to their defaults. What changes single keys
    /// is [`Self::incremental_alter_configs`].
    pub async fn alter_configs(
        &self,
        configs: impl IntoIterator<Item = (ConfigResource, Vec<(String, String)>)>,
        validate_only: bool,
    ) -> Result<Vec<(ConfigResource, Result<()>)>> {
        use alter_configs::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
        let configs: Vec<(ConfigResource, Vec<(String, String)>)> = configs.into_iter().collect();
        let resources: Vec<ConfigResource> = configs.iter().map(|(resource, _)| resource.clone()).collect();
        let config = |(name, value): &(String, String)| AlterableConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        };
        let mut results = Vec::new();
        for (broker, group) in by_broker(&resources) {
            let resource = |resource: &&ConfigResource| {
                let (resource_type, resource_name) = resource.on_the_wire();
                let of_it = configs.iter().filter(|(other, _)| other == *resource);
                AlterConfigsResource {
                    resource_type,
                    resource_name: resource_name.into(),
                    configs: of_it.flat_map(|(_, configs)| configs).map(config).collect(),
                }
            };
            let request =
                AlterConfigsRequest { resources: group.iter().map(resource).collect(), validate_only };
            let response = self
                .ask(Target::of(broker), request, |response| {
                    controller_moved(response.responses.iter().map(|resource| resource.error_code))
                })
                .await?;
            results.extend(response.responses.into_iter().map(|result| Altered {
                resource_type: result.resource_type,
                resource_name: result.resource_name,
                code: result.error_code,
                message: result.error_message,
            }));
        }
        Ok(altered(resources, results))
    }
}

/// The resources by the broker that must be asked about them.
fn by_broker(resources: &[ConfigResource]) -> BTreeMap<Option<BrokerId>, Vec<&ConfigResource>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for resource in resources {
        groups.entry(resource.broker()).or_default().push(resource);
    }
    groups
}

fn entry(config: describe_configs::DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.map(|value| value.to_string()),
        source: ConfigSource::read(config.config_source),
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}

/// What a broker said of one resource, to either kind of request.
struct Altered {
    resource_type: i8,
    resource_name: Str,
    code: ErrorCode,
    message: Option<Str>,
}

fn altered(resources: Vec<ConfigResource>, results: Vec<Altered>) -> Vec<(ConfigResource, Result<()>)> {
    let find = |wanted: &ConfigResource| {
        let (kind, name) = wanted.on_the_wire();
        let of_it = |result: &&Altered| result.resource_type == kind && *result.resource_name == *name;
        let result = results.iter().find(of_it).ok_or_else(left_out)?;
        outcome(result.code, result.message.as_deref(), || format!("change configuration of {wanted}"))
    };
    let outcomes: Vec<_> = resources.iter().map(find).collect();
    resources.into_iter().zip(outcomes).collect()
}

fn left_out() -> Error {
    Error::new(ErrorKind::Corrupt, "the broker's answer leaves it out, or it was named twice")
}
