//! What settings must have in common: checks across keys, which no table can say.

use ottla_config::{ConfigErrors, Source, Values};

/// Requests under way of which a broker remembers the batches of a producer (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const IDEMPOTENT_IN_FLIGHT_MAX: i32 = 5;

/// A producer's, as Kafka's `ProducerConfig.postProcessAndValidateIdempotenceConfigs` has them. Whoever asks for idempotence gets it or an
/// error; where it is on by default only, `acks=1` and `retries=0` turn it off.
pub(super) fn producer(values: &Values) -> Result<(), ConfigErrors> {
    if !values.bool("enable.idempotence") {
        return Ok(());
    }
    if *values.source("enable.idempotence") != Source::Default {
        if values.i32("retries") == 0 {
            return Err(values
                .error("retries", "1 or more, which `enable.idempotence=true` needs, or leave that out"));
        }
        if values.str("acks") != "all" {
            return Err(
                values.error("acks", "`all`, which `enable.idempotence=true` needs, or leave that out")
            );
        }
    }
    if values.i32("max.in.flight.requests.per.connection") > IDEMPOTENT_IN_FLIGHT_MAX {
        let needs = format!("{IDEMPOTENT_IN_FLIGHT_MAX} or less, or set `enable.idempotence=false`");
        return Err(values.error("max.in.flight.requests.per.connection", needs));
    }
    Ok(())
}
