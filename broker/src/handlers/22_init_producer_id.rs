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

use super::{Context, RequestContext};

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
    if let Some(transactional_id) = &request.transactional_id {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        tracing::warn!(
            peer = %rq.peer,
            transactional_id = %transactional_id.escape_debug(),
            "refused a transactional producer: transactions come with a later release; unset `transactional.id`"
        );
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    if (request.producer_id == ProducerId::NONE) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    cx.controller.producer_id().await.map_err(|error| error.code)
}
