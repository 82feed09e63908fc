//! An admin client for programs that have neither Rust's types nor its futures. Its results are the core's plain structs.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    call::Call,
    core::{
        self, AlterConfig, ClusterDescription, ConfigEntry, ConfigResource, CreatedTopic, GroupDescription,
        GroupListing, ListedOffset, NewTopic, OffsetAndMetadata, OffsetSpec, TopicDescription, TopicListing,
        TopicPartition, config::AdminConfig,
    },
    error::Result,
    handle::Handle,
    tokens::TokenRequests,
};

/// What became of each thing that was asked about, in the order of the question.
pub type Outcomes<K, T> = Vec<(K, Result<T>)>;

/// A handle on an admin client. Clones share it.
#[derive(Clone, Debug)]
pub struct Admin {
    handle: Arc<Handle<core::Admin>>,
}

impl Admin {
    /// Makes one. Connections come when they are needed.
    pub fn new(config: AdminConfig) -> Result<Self> {
        Self::with_tokens(config, None)
    }

    /// As [`Self::new`]; it asks there for its tokens, if it needs any.
    pub fn with_tokens(config: AdminConfig, tokens: Option<TokenRequests>) -> Result<Self> {
        Ok(Self { handle: Handle::new(client(config, tokens)?) })
    }

    /// Creates topics, or with `validate_only` says whether they could be.
    pub fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Call<Outcomes<String, CreatedTopic>> {
        self.handle.call(move |client| async move {
            Ok(outcomes(client.get()?.create_topics(topics, validate_only).await?))
        })
    }

    /// Deletes topics with all their records.
    pub fn delete_topics(&self, names: Vec<String>) -> Call<Outcomes<String, ()>> {
        self.handle.call(move |client| async move { Ok(outcomes(client.get()?.delete_topics(names).await?)) })
    }

    /// Raises the number of partitions of topics to `(name, count)`.
    pub fn create_partitions(
        &self,
        counts: Vec<(String, i32)>,
        validate_only: bool,
    ) -> Call<Outcomes<String, ()>> {
        self.handle.call(move |client| async move {
            Ok(outcomes(client.get()?.create_partitions(counts, validate_only).await?))
        })
    }

    /// Topics and their partitions.
    pub fn describe_topics(&self, names: Vec<String>) -> Call<Outcomes<String, TopicDescription>> {
        self.handle
            .call(move |client| async move { Ok(outcomes(client.get()?.describe_topics(names).await?)) })
    }

    /// All topics that this client may describe, by name.
    pub fn list_topics(&self) -> Call<Vec<TopicListing>> {
        self.handle.call(|client| async move { Ok(client.get()?.list_topics().await?) })
    }

    /// The configurations of these resources, every key with its value and source.
    pub fn describe_configs(
        &self,
        resources: Vec<ConfigResource>,
    ) -> Call<Outcomes<ConfigResource, Vec<ConfigEntry>>> {
        self.handle
            .call(move |client| async move { Ok(outcomes(client.get()?.describe_configs(resources).await?)) })
    }

    /// Changes single keys, or with `validate_only` says whether they could be.
    pub fn alter_configs(
        &self,
        changes: Vec<(ConfigResource, Vec<AlterConfig>)>,
        validate_only: bool,
    ) -> Call<Outcomes<ConfigResource, ()>> {
        self.handle.call(move |client| async move {
            Ok(outcomes(client.get()?.incremental_alter_configs(changes, validate_only).await?))
        })
    }

    /// All groups of the cluster, of any type, by name.
    pub fn list_groups(&self) -> Call<Vec<GroupListing>> {
        self.handle.call(|client| async move { Ok(client.get()?.list_groups().await?) })
    }

    /// Groups with their members.
    pub fn describe_groups(&self, groups: Vec<String>) -> Call<Outcomes<String, GroupDescription>> {
        self.handle
            .call(move |client| async move { Ok(outcomes(client.get()?.describe_groups(groups).await?)) })
    }

    /// Deletes groups without members, with the offsets they have committed.
    pub fn delete_groups(&self, groups: Vec<String>) -> Call<Outcomes<String, ()>> {
        self.handle
            .call(move |client| async move { Ok(outcomes(client.get()?.delete_groups(groups).await?)) })
    }

    /// All offsets that groups have committed, by partition.
    pub fn list_group_offsets(
        &self,
        groups: Vec<String>,
    ) -> Call<Outcomes<String, BTreeMap<TopicPartition, OffsetAndMetadata>>> {
        self.handle
            .call(move |client| async move { Ok(outcomes(client.get()?.list_group_offsets(groups).await?)) })
    }

    /// Commits offsets in the name of a group that has no members.
    pub fn alter_group_offsets(
        &self,
        group: String,
        offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
    ) -> Call<Outcomes<TopicPartition, ()>> {
        self.handle.call(move |client| async move {
            Ok(outcomes(client.get()?.alter_group_offsets(&group, offsets).await?))
        })
    }

    /// Forgets offsets that a group has committed, of topics that no member of it reads.
    pub fn delete_group_offsets(
        &self,
        group: String,
        partitions: Vec<TopicPartition>,
    ) -> Call<Outcomes<TopicPartition, ()>> {
        self.handle.call(move |client| async move {
            Ok(outcomes(client.get()?.delete_group_offsets(&group, partitions).await?))
        })
    }

    /// The offsets of these partitions, by place or by time.
    pub fn list_offsets(
        &self,
        wanted: Vec<(TopicPartition, OffsetSpec)>,
    ) -> Call<Outcomes<TopicPartition, ListedOffset>> {
        self.handle.call(move |client| async move { Ok(outcomes(client.get()?.list_offsets(wanted).await?)) })
    }

    /// The cluster's id, controller and brokers.
    pub fn describe_cluster(&self) -> Call<ClusterDescription> {
        self.handle.call(|client| async move { Ok(client.get()?.describe_cluster().await?) })
    }
}

fn outcomes<K, T>(of_core: Vec<(K, core::Result<T>)>) -> Outcomes<K, T> {
    of_core.into_iter().map(|(key, outcome)| (key, outcome.map_err(Into::into))).collect()
}

fn client(config: AdminConfig, tokens: Option<TokenRequests>) -> Result<core::Admin> {
    Ok(match tokens {
        Some(tokens) => core::Admin::with_tokens(config, tokens)?,
        None => core::Admin::new(config)?,
    })
}
