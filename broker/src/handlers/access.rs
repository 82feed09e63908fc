//! What a request needs to be allowed: the table of all of them, and the question.
//!
//! The table is that of Kafka's `KafkaApis` and `ControllerApis`. Where one resource of several is forbidden, it alone is
//! answered with its type's error, and as if nobody had looked whether it exists. What is found by an id is looked up
//! first: an id that is not there is unknown, not forbidden.

use std::sync::Arc;

use ottla_protocol::error_code::ErrorCode;

use super::{Context, RequestContext, nodes::NO_OPERATIONS};
use crate::{
    authorization::Authorizer,
    controller::ApiError,
    coordinator::group::Sees,
    metadata::{
        Image,
        acls::{CLUSTER_NAME, Operation, ResourceType},
    },
};

/// An operation on resources of a type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Right {
    operation: Operation,
    resource: ResourceType,
}

impl Right {
    /// What is answered to who does not have it (`AclEntry.authorizationError`).
    pub(super) const fn refusal(self) -> ErrorCode {
        match self.resource {
            ResourceType::Topic => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ResourceType::Group => ErrorCode::GROUP_AUTHORIZATION_FAILED,
            ResourceType::Cluster => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            ResourceType::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ResourceType::DelegationToken | ResourceType::User => {
                ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED
            }
        }
    }
}

/// Declares rights: a name, an operation, and the type of what it is done with.
macro_rules! rights {
    ($($(#[$doc:meta])* $name:ident: $operation:ident $resource:ident;)*) => {$(
        $(#[$doc])*
        pub(super) const $name: Right =
            Right { operation: Operation::$operation, resource: ResourceType::$resource };
    )*};
}

rights! {
    /// Produce, each topic.
    PRODUCE: Write Topic;
    /// Produce into the cluster's own topics, beside [`PRODUCE`]: not by the client's name for itself, as in Kafka.
    PRODUCE_INTERNAL: ClusterAction Cluster;
    /// Fetch, each topic.
    FETCH: Read Topic;
    /// ListOffsets, each topic.
    LIST_OFFSETS: Describe Topic;
    /// OffsetForLeaderEpoch, each topic; or of all, [`READ_EPOCHS_AS_BROKER`].
    READ_EPOCHS: Describe Topic;
    /// OffsetForLeaderEpoch, all topics.
    READ_EPOCHS_AS_BROKER: ClusterAction Cluster;
    /// InitProducerId with a transactional id.
    WRITE_TRANSACTION: Write TransactionalId;
    /// InitProducerId without one; or to [`PRODUCE`] to any topic.
    WRITE_IDEMPOTENTLY: IdempotentWrite Cluster;

    /// Metadata and DescribeTopicPartitions, each topic; those that were not asked for by name are left out.
    DESCRIBE_TOPIC: Describe Topic;
    /// CreateTopics, and Metadata where it makes a topic; or of all, [`CREATE_TOPICS`].
    CREATE_TOPIC: Create Topic;
    /// CreateTopics, all topics.
    CREATE_TOPICS: Create Cluster;
    /// DeleteTopics and DeleteRecords, each topic; of the former, or [`DELETE_TOPICS`].
    DELETE_TOPIC: Delete Topic;
    /// DeleteTopics, all topics.
    DELETE_TOPICS: Delete Cluster;
    /// CreatePartitions, each topic.
    ALTER_TOPIC: Alter Topic;

    /// DescribeConfigs of topics, and CreateTopics where it answers configurations.
    DESCRIBE_TOPIC_CONFIGS: DescribeConfigs Topic;
    /// DescribeConfigs of groups.
    DESCRIBE_GROUP_CONFIGS: DescribeConfigs Group;
    /// DescribeConfigs of brokers and all else, ListConfigResources, DescribeClientQuotas.
    DESCRIBE_CONFIGS: DescribeConfigs Cluster;
    /// AlterConfigs and IncrementalAlterConfigs of topics.
    ALTER_TOPIC_CONFIGS: AlterConfigs Topic;
    /// AlterConfigs and IncrementalAlterConfigs of groups.
    ALTER_GROUP_CONFIGS: AlterConfigs Group;
    /// AlterConfigs and IncrementalAlterConfigs of brokers and all else, AlterClientQuotas.
    ALTER_CONFIGS: AlterConfigs Cluster;

    /// FindCoordinator, OffsetFetch, DescribeGroups, ConsumerGroupDescribe, ListGroups: each group; of the last, or
    /// [`DESCRIBE_CLUSTER`].
    DESCRIBE_GROUP: Describe Group;
    /// FindCoordinator of a transactional id.
    DESCRIBE_TRANSACTION: Describe TransactionalId;
    /// JoinGroup, SyncGroup, Heartbeat, LeaveGroup, ConsumerGroupHeartbeat, OffsetCommit.
    READ_GROUP: Read Group;
    /// DeleteGroups, OffsetDelete.
    DELETE_GROUP: Delete Group;
    /// OffsetCommit and OffsetDelete, each topic, beside the right to the group.
    READ_TOPIC: Read Topic;

    /// DescribeLogDirs, DescribeUserScramCredentials, DescribeAcls; DescribeCluster and Metadata where they tell what may be
    /// done with the cluster.
    DESCRIBE_CLUSTER: Describe Cluster;
    /// AlterUserScramCredentials, CreateAcls, DeleteAcls.
    ALTER_CLUSTER: Alter Cluster;
}

/// What the client of a request may do, by the rules as they were when it was asked.
pub(super) struct Access<'a> {
    rq: &'a RequestContext,
    /// Nothing where there is no authorizer, and nothing is looked at.
    guarded: Option<(&'a Authorizer, Arc<Image>)>,
}

impl<'a> Access<'a> {
    pub(super) fn of(rq: &'a RequestContext, cx: &'a Context) -> Self {
        Self { rq, guarded: cx.authorizer.as_deref().map(|authorizer| (authorizer, cx.image.load_full())) }
    }

    /// Whether there are rules at all.
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded.is_some()
    }

    /// Whether the client may do it with what is named so. That it may not is logged: it tried.
    pub(super) fn may(&self, right: Right, name: &str) -> bool {
        let may = self.may_see(right, name);
        if !may {
            let RequestContext { session, peer, .. } = self.rq;
            let (operation, resource) = (right.operation, right.resource);
            tracing::info!(
                principal = %session.principal,
                %peer,
                ?operation,
                ?resource,
                name = %name.escape_debug(),
                "access was denied"
            );
        }
        may
    }

    /// As [`Self::may`], of what the client did not ask for by name: it will not hear of it.
    pub(super) fn may_see(&self, right: Right, name: &str) -> bool {
        self.guarded.as_ref().is_none_or(|(authorizer, image)| {
            let (principal, address) = (&self.rq.session.principal, self.rq.peer.ip().to_canonical());
            authorizer.allows(image.acls(), principal, address, right.operation, right.resource, name)
        })
    }

    /// Fails with the right's refusal unless the client may do it.
    pub(super) fn check(&self, right: Right, name: &str) -> Result<(), ErrorCode> {
        if self.may(right, name) { Ok(()) } else { Err(right.refusal()) }
    }

    /// As [`Self::check`], for the cluster.
    pub(super) fn check_cluster(&self, right: Right) -> Result<(), ErrorCode> {
        self.check(right, CLUSTER_NAME)
    }

    /// As [`Self::check_cluster`], of the access rules themselves: there must be somebody who asks them.
    pub(super) fn check_acls(&self, right: Right) -> Result<(), ApiError> {
        const NO_AUTHORIZER: &str =
            "the broker has no authorizer; set `authorizer.class.name` to have access rules";
        self.check_cluster(right)?;
        match self.is_guarded() {
            true => Ok(()),
            false => Err(ApiError::new(ErrorCode::SECURITY_DISABLED, NO_AUTHORIZER)),
        }
    }

    /// As [`Self::may_see`], for the cluster: where it would be enough, but is not needed.
    pub(super) fn may_cluster(&self, right: Right) -> bool {
        self.may_see(right, CLUSTER_NAME)
    }

    /// Whether there is, or could be, a resource with which the client may do it.
    pub(super) fn may_with_any(&self, right: Right) -> bool {
        self.guarded.as_ref().is_none_or(|(authorizer, image)| {
            let (principal, address) = (&self.rq.session.principal, self.rq.peer.ip().to_canonical());
            authorizer.allows_with_any(image.acls(), principal, address, right.operation, right.resource)
        })
    }

    /// What the client may do with a topic, one bit an operation, if it asked.
    pub(super) fn topic_operations(&self, asked: bool, name: &str) -> i32 {
        self.operations(asked, ResourceType::Topic, name)
    }

    /// What the client may do with a group, if it asked.
    pub(super) fn group_operations(&self, asked: bool, name: &str) -> i32 {
        self.operations(asked, ResourceType::Group, name)
    }

    /// What the client may do with the cluster, if it asked; nothing if it may not even see it.
    pub(super) fn cluster_operations(&self, asked: bool) -> i32 {
        match asked && self.check_cluster(DESCRIBE_CLUSTER).is_err() {
            true => 0,
            false => self.operations(asked, ResourceType::Cluster, CLUSTER_NAME),
        }
    }

    fn operations(&self, asked: bool, resource: ResourceType, name: &str) -> i32 {
        if !asked {
            return NO_OPERATIONS;
        }
        let allowed =
            resource.operations().iter().filter(|it| self.may_see(Right { operation: **it, resource }, name));
        allowed.fold(0, |bits, operation| bits | 1 << operation.number())
    }
}

/// Which topics the client sees, for those who find out later: by the rules as they are then.
pub(super) fn sees_topics(rq: &RequestContext, cx: &Context) -> Sees {
    let Some(authorizer) = cx.authorizer.clone() else { return Sees::default() };
    let (image, session, address) =
        (Arc::clone(&cx.image), Arc::clone(&rq.session), rq.peer.ip().to_canonical());
    Sees::by(move |name| {
        let Right { operation, resource } = DESCRIBE_TOPIC;
        authorizer.allows(image.load().acls(), &session.principal, address, operation, resource, name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::Broker;

    #[tokio::test]
    async fn operations_are_the_numbers_that_kafka_answers_without_an_authorizer() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let rq = broker.context(0);
        let access = Access::of(&rq, &broker.cx);
        let told = (
            access.topic_operations(true, "t"),
            access.group_operations(true, "g"),
            access.cluster_operations(true),
        );
        assert_eq!(told, (3576, 3400, 8096));
        assert_eq!(access.topic_operations(false, "t"), i32::MIN);
    }
}
