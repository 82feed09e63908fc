//! Producer ids, handed out in blocks so that most producers cost no write to the metadata log (KIP-730).

use std::ops::Range;

use ottla_protocol::{
    error_code::ErrorCode, messages::metadata_log::producer_ids_record::ProducerIdsRecord, types::BrokerId,
};

use super::{ApiError, Decision};
use crate::metadata::image::Image;

/// Ids in one block (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`). What a broker has not handed out when it stops is
/// lost; there are enough.
pub(crate) const BLOCK_SIZE: i64 = 1_000;

/// Gives `broker` a block that nobody had before.
pub(crate) fn allocate(image: &Image, broker: BrokerId) -> Decision<Result<Range<i64>, ApiError>> {
    let refuse =
        |code, message: &str| Decision { records: Vec::new(), answer: Err(ApiError::new(code, message)) };
    let Some(registered) = image.broker(broker) else {
        return refuse(ErrorCode::BROKER_ID_NOT_REGISTERED, "the broker that asks is not registered");
    };
    let first = image.next_producer_id();
    let Some(next) = first.checked_add(BLOCK_SIZE) else {
        return refuse(ErrorCode::UNKNOWN_SERVER_ERROR, "all producer ids have been handed out");
    };
    let record =
        ProducerIdsRecord { broker_id: broker, broker_epoch: registered.epoch, next_producer_id: next };
    Decision { records: vec![record.into()], answer: Ok(first..next) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{NODE, cluster_of};

    #[test]
    fn blocks_follow_each_other_and_end() {
        let image = cluster_of(&[1]);
        let first = allocate(&image, NODE);
        assert_eq!(first.answer.unwrap(), 0..1_000);
        let image = image.apply(&first.records, 1).unwrap();
        assert_eq!(allocate(&image, NODE).answer.unwrap(), 1_000..2_000);
        let last = ProducerIdsRecord { next_producer_id: i64::MAX - 999, ..ProducerIdsRecord::default() };
        let image = image.apply(&[last.into()], 1).unwrap();
        assert_eq!(allocate(&image, NODE).answer.unwrap_err().code, ErrorCode::UNKNOWN_SERVER_ERROR);
        assert_eq!(
            allocate(&image, BrokerId(2)).answer.unwrap_err().code,
            ErrorCode::BROKER_ID_NOT_REGISTERED
        );
    }
}
