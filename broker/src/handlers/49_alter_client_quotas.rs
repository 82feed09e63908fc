//! AlterClientQuotas, versions 0 and 1: sets quotas and takes them away (KIP-546).

use ottla_protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, ResponseEntryData,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: AlterClientQuotasRequest,
    rq: &RequestContext,
    cx: &Context,
) -> AlterClientQuotasResponse {
    let entities: Vec<_> = request.entries.iter().map(|entry| entry.entity.clone()).collect();
    let altered = match Access::of(rq, cx).check_cluster(access::ALTER_CONFIGS) {
        Ok(()) => cx.controller.alter_client_quotas(request).await,
        Err(code) => Err(code.into()),
    };
    altered.unwrap_or_else(|error| {
        let refused = |entity| ResponseEntryData {
            error_code: error.code,
            error_message: Some(error.message.clone()),
            entity,
        };
        AlterClientQuotasResponse {
            throttle_time_ms: 0,
            entries: entities.into_iter().map(refused).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        error_code::ErrorCode,
        messages::{
            alter_client_quotas::{EntityData, OpData, RequestEntryData},
            create_topics::{CreatableTopic, CreateTopicsRequest},
            describe_client_quotas::{ComponentData, DescribeClientQuotasRequest},
        },
    };

    use super::*;
    use crate::{
        authentication::Principal,
        handlers::{
            create_topics, describe_client_quotas,
            testing::{Broker, ask, sent},
        },
    };

    fn set(user: Option<&str>, key: &str, value: f64) -> AlterClientQuotasRequest {
        let entity = vec![EntityData { entity_type: "user".into(), entity_name: user.map(Into::into) }];
        let ops = vec![OpData { key: key.into(), value, remove: false }];
        AlterClientQuotasRequest { entries: vec![RequestEntryData { entity, ops }], validate_only: false }
    }

    async fn described(broker: &Broker, version: i16, components: Vec<ComponentData>) -> (ErrorCode, usize) {
        let request = DescribeClientQuotasRequest { components, strict: false };
        let (request, rq) = broker.request(version, &request);
        let answer = sent(&describe_client_quotas::handle(request, &rq, &broker.cx).await, version);
        (answer.error_code, answer.entries.map_or(0, |entries| entries.len()))
    }

    #[tokio::test]
    async fn every_version_sets_and_describes() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for version in 0..=1 {
            let name = format!("v{version}");
            let answer = ask!(broker, version, set(Some(&name), "producer_byte_rate", 5.0));
            assert_eq!(answer.entries[0].error_code, ErrorCode::NONE);
            assert_eq!(answer.entries[0].entity[0].entity_name.as_deref(), Some(&*name));
            let user = |name: &str| ComponentData {
                entity_type: "user".into(),
                match_type: 0,
                r#match: Some(name.into()),
            };
            assert_eq!(described(&broker, version, vec![user(&name)]).await, (ErrorCode::NONE, 1));
            let twice = vec![user("a"), user("b")];
            assert_eq!(described(&broker, version, twice).await, (ErrorCode::INVALID_REQUEST, 0));
            let unknown = ComponentData { entity_type: "group".into(), match_type: 2, r#match: None };
            assert_eq!(described(&broker, version, vec![unknown]).await, (ErrorCode::UNSUPPORTED_VERSION, 0));
        }
        assert_eq!(described(&broker, 1, Vec::new()).await, (ErrorCode::NONE, 2));
    }

    #[tokio::test]
    async fn a_quota_of_changes_holds_for_each_user_from_the_next_request_on_and_for_whoever_only_tries() {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Broker::start(dir.path(), "").await;
        ask!(broker, 1, set(None, "controller_mutation_rate", 0.01));
        let mut create = async |user: &str, name: &str, validate_only: bool| {
            broker.user = Principal::user(user);
            let topic = CreatableTopic {
                name: name.into(),
                num_partitions: 12,
                replication_factor: 1,
                ..CreatableTopic::default()
            };
            let request =
                CreateTopicsRequest { topics: vec![topic], validate_only, ..CreateTopicsRequest::default() };
            let (request, rq) = broker.request(7, &request);
            let answer = create_topics::handle(request, &rq, &broker.cx).await;
            (answer.topics[0].error_code, answer.throttle_time_ms > 0)
        };
        assert_eq!(create("alice", "a", true).await, (ErrorCode::NONE, false));
        let exceeded = (ErrorCode::THROTTLING_QUOTA_EXCEEDED, true);
        assert_eq!(create("alice", "a", false).await, exceeded);
        assert_eq!(create("alice", "a", true).await, exceeded);
        assert_eq!(create("bob", "b", false).await, (ErrorCode::NONE, false));
    }
}
