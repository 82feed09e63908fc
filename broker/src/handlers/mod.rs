//! One file per API, numbered as its schema: authorize, call, answer; no state of their own.

mod access;
#[cfg(test)]
mod access_tests;
#[path = "49_alter_client_quotas.rs"]
pub(crate) mod alter_client_quotas;
#[path = "33_alter_configs.rs"]
pub(crate) mod alter_configs;
#[path = "51_alter_user_scram_credentials.rs"]
pub(crate) mod alter_user_scram_credentials;
#[path = "18_api_versions.rs"]
pub(crate) mod api_versions;
#[path = "69_consumer_group_describe.rs"]
pub(crate) mod consumer_group_describe;
#[path = "68_consumer_group_heartbeat.rs"]
pub(crate) mod consumer_group_heartbeat;
#[path = "30_create_acls.rs"]
pub(crate) mod create_acls;
#[path = "37_create_partitions.rs"]
pub(crate) mod create_partitions;
#[path = "19_create_topics.rs"]
pub(crate) mod create_topics;
#[path = "31_delete_acls.rs"]
pub(crate) mod delete_acls;
#[path = "42_delete_groups.rs"]
pub(crate) mod delete_groups;
#[path = "21_delete_records.rs"]
pub(crate) mod delete_records;
#[path = "20_delete_topics.rs"]
pub(crate) mod delete_topics;
#[path = "29_describe_acls.rs"]
pub(crate) mod describe_acls;
#[path = "48_describe_client_quotas.rs"]
pub(crate) mod describe_client_quotas;
#[path = "60_describe_cluster.rs"]
pub(crate) mod describe_cluster;
#[path = "32_describe_configs.rs"]
pub(crate) mod describe_configs;
#[path = "15_describe_groups.rs"]
pub(crate) mod describe_groups;
#[path = "35_describe_log_dirs.rs"]
pub(crate) mod describe_log_dirs;
#[path = "75_describe_topic_partitions.rs"]
pub(crate) mod describe_topic_partitions;
#[path = "50_describe_user_scram_credentials.rs"]
pub(crate) mod describe_user_scram_credentials;
#[path = "01_fetch.rs"]
pub(crate) mod fetch;
#[path = "10_find_coordinator.rs"]
pub(crate) mod find_coordinator;
mod groups;
#[path = "12_heartbeat.rs"]
pub(crate) mod heartbeat;
#[path = "44_incremental_alter_configs.rs"]
pub(crate) mod incremental_alter_configs;
#[path = "22_init_producer_id.rs"]
pub(crate) mod init_producer_id;
#[path = "11_join_group.rs"]
pub(crate) mod join_group;
#[path = "13_leave_group.rs"]
pub(crate) mod leave_group;
#[path = "74_list_config_resources.rs"]
pub(crate) mod list_config_resources;
#[path = "16_list_groups.rs"]
pub(crate) mod list_groups;
#[path = "02_list_offsets.rs"]
pub(crate) mod list_offsets;
#[path = "03_metadata.rs"]
pub(crate) mod metadata;
mod nodes;
#[path = "08_offset_commit.rs"]
pub(crate) mod offset_commit;
#[path = "47_offset_delete.rs"]
pub(crate) mod offset_delete;
#[path = "09_offset_fetch.rs"]
pub(crate) mod offset_fetch;
#[path = "23_offset_for_leader_epoch.rs"]
pub(crate) mod offset_for_leader_epoch;
#[path = "00_produce.rs"]
pub(crate) mod produce;
#[path = "14_sync_group.rs"]
pub(crate) mod sync_group;
#[cfg(test)]
mod testing;

use std::{net::SocketAddr, sync::Arc};

use ottla_protocol::types::Str;

use crate::{
    authentication::Session,
    authorization::Authorizer,
    config::BrokerConfig,
    controller::ControllerHandle,
    coordinator::runtime::Coordinator,
    metadata::SharedImage,
    metrics::Metrics,
    quota::{Held, Quotas},
    replica::{Replicas, fetch_session::FetchSessions},
};

/// What every handler may use.
pub(crate) struct Context {
    /// The cluster as it is now.
    pub(crate) image: SharedImage,
    /// Changes the cluster.
    pub(crate) controller: ControllerHandle,
    /// The partitions that lie here.
    pub(crate) replicas: Arc<Replicas>,
    /// What consumers told once.
    pub(crate) fetch_sessions: FetchSessions,
    /// The groups that are coordinated here.
    pub(crate) coordinator: Coordinator,
    /// Judges what clients may do; without one, everything.
    pub(crate) authorizer: Option<Arc<Authorizer>>,
    /// Holds clients to their quotas.
    pub(crate) quotas: Quotas,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The settings that the broker started with.
    pub(crate) config: Arc<BrokerConfig>,
}

/// Who asks, how and where.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// The version of the request's message.
    pub(crate) version: i16,
    /// The client's name for itself; not to be trusted.
    pub(crate) client_id: Option<Str>,
    /// Our end of the connection.
    pub(crate) local: SocketAddr,
    /// The client's end of the connection.
    pub(crate) peer: SocketAddr,
    /// Who asks, and by which listener.
    pub(crate) session: Arc<Session>,
    /// The quotas that hold for the client, if any do.
    pub(crate) quotas: Option<Arc<Held>>,
}
