//! InitProducerId, versions 0 to 5: an id for a producer that is to be idempotent (KIP-98).
//!
//! - 3: the producer may say which id and epoch it has; without a transactional id it gets new ones all the same.
//!
//! There is no transaction coordinator yet. A transactional producer asks FindCoordinator first, which is not
//! advertised, and gives up there. One that asks here directly is told TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the one
//! error that every client takes as final: COORDINATOR_NOT_AVAILABLE would be the truth and would be retried for
//! ever, and librdkafka retries whatever else it does not know.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
    types::ProducerId,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: InitProducerIdRequest,
    rq: &RequestContext,
    cx: &Context,
) -> InitProducerIdResponse {
    match producer_id(&request, rq, cx).await {
        Ok(producer_id) => {
            InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
        }
        Err(error_code) => {
            InitProducerIdResponse { error_code, producer_epoch: -1, ..InitProducerIdResponse::default() }
        }
    }
}

async fn producer_id(
    request: &InitProducerIdRequest,
    rq: &RequestContext,
    cx: &Context,
) -> Result<ProducerId, ErrorCode> {
    let access = Access::of(rq, cx);
    if let Some(transactional_id) = &request.transactional_id {
        access.check(access::WRITE_TRANSACTION, transactional_id)?;
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        tracing::warn!(
            peer = %rq.peer,
            client_id = rq.client_id.as_ref().map(|id| id.escape_debug().to_string()),
            transactional_id = %transactional_id.escape_debug(),
            "refused a transactional producer: transactions come with a later release; unset `transactional.id`"
        );
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    if !access.may_cluster(access::WRITE_IDEMPOTENTLY) && !access.may_with_any(access::PRODUCE) {
        return Err(access::WRITE_IDEMPOTENTLY.refusal());
    }
    if (request.producer_id == ProducerId::NONE) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    cx.controller.producer_id().await.map_err(|error| error.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{Broker, ask};

    fn idempotent() -> InitProducerIdRequest {
        InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() }
    }

    #[tokio::test]
    async fn each_producer_gets_an_id_of_its_own_at_epoch_0() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for version in 0..=5 {
            let answer = ask!(broker, version, idempotent());
            let expected = (ErrorCode::NONE, ProducerId(version.into()), 0);
            assert_eq!((answer.error_code, answer.producer_id, answer.producer_epoch), expected);
        }
        let again = InitProducerIdRequest { producer_id: ProducerId(0), producer_epoch: 3, ..idempotent() };
        let answer = ask!(broker, 4, again);
        assert_eq!((answer.producer_id, answer.producer_epoch), (ProducerId(6), 0));
    }

    #[tokio::test]
    async fn a_transactional_producer_is_refused_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let code = async |request| ask!(broker, 4, request).error_code;
        let transactional =
            |id: &str| InitProducerIdRequest { transactional_id: Some(id.into()), ..idempotent() };
        let refused = code(transactional("t")).await;
        assert_eq!(refused, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        assert!(!refused.is_retriable());
        assert_eq!(code(transactional("")).await, ErrorCode::INVALID_REQUEST);
        let half = InitProducerIdRequest { producer_id: ProducerId(1), ..idempotent() };
        assert_eq!(code(half).await, ErrorCode::INVALID_REQUEST);
    }
}
