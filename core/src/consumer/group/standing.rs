//! Which protocol a member with `group.protocol=auto` joins its group by.
//!
//! KIP-848's, unless the group has members of the classic protocol: brokers may turn such a group into one of the new kind
//! as soon as one member asks (`group.consumer.migration.policy`), and nobody has asked for that. So the member looks
//! first, and with the rights that it needs anyway: who may read with a group may describe it. Between the look and the
//! heartbeat the first classic member may come: a broker that then refuses the heartbeat has answered, too.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{ApiKey, DescribeGroupsRequest},
    types::GroupId,
};
use tokio::time::Instant;

use crate::{
    cluster::broker::BrokerConnection,
    error::{Error, ErrorKind, Result},
};

/// The first ConsumerGroupHeartbeat of a protocol that is finished (Kafka 4.0); the one before was a preview.
const HEARTBEAT_VERSION_MIN: i16 = 1;
/// The states of a classic group that has members. One of KIP-848 is told as dead here.
const WITH_MEMBERS: [&str; 3] = ["PreparingRebalance", "CompletingRebalance", "Stable"];

/// Whether the group has to be joined by the classic protocol; asks the group's coordinator.
pub(super) async fn is_classic(
    coordinator: &BrokerConnection,
    group: &GroupId,
    deadline: Instant,
) -> Result<bool> {
    if coordinator.version(ApiKey::ConsumerGroupHeartbeat).is_ok_and(|it| it >= HEARTBEAT_VERSION_MIN) {
        let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
        let response = coordinator.call(&request, deadline)?.await?;
        let described = response.groups.into_iter().find(|described| described.group_id == *group);
        let described = described
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the broker's answer leaves the group out"))?;
        return match described.error_code {
            ErrorCode::NONE => Ok(WITH_MEMBERS.contains(&described.group_state.as_str())),
            ErrorCode::GROUP_ID_NOT_FOUND => Ok(false),
            code => Err(Error::broker(code, described.error_message.as_deref())
                .context(format!("describe group `{group}`"))),
        };
    }
    Ok(true)
}

/// Whether a broker that refuses a join so does not have the protocol, or not for this group.
pub(super) fn is_refused(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UNSUPPORTED_VERSION
            | ErrorCode::GROUP_ID_NOT_FOUND
            | ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    )
}
