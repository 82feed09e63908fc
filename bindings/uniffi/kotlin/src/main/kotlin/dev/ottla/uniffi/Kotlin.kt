// What Kotlin has words for and UniFFI does not. No rule of the clients is here.
package dev.ottla.uniffi

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlin.time.Duration
import kotlin.time.TimeSource
import kotlin.time.toJavaDuration

/** How many records are asked for at a time, if nobody says: Kafka's `max.poll.records`. */
public const val MAX_RECORDS: Int = 500

/**
 * The next records of one partition, at most [maxRecords] of them; waits for them as long as [timeout] says, and has none then. To ask
 * is to be done with those before. A coroutine that is cancelled here has lost no record: what waits hands out nothing.
 */
public suspend fun OttlaConsumer.poll(timeout: Duration, maxRecords: Int = MAX_RECORDS): List<ConsumerRecord> {
    val began = TimeSource.Monotonic.markNow()
    while (true) {
        val records = take(maxRecords)
        if (records.isNotEmpty()) return records
        val left = (timeout - began.elapsedNow()).coerceAtLeast(Duration.ZERO)
        if (!ready(left.toJavaDuration())) return records
    }
}

/** All records that come, batch by batch, until the collector stops or the consumer is shut down, which is an error there. */
public fun OttlaConsumer.batches(maxRecords: Int = MAX_RECORDS): Flow<List<ConsumerRecord>> = flow {
    while (true) {
        val records = poll(Duration.INFINITE, maxRecords)
        if (records.isNotEmpty()) emit(records)
    }
}

/** Sends what was taken, and ends; see the function that UniFFI has made, which takes Java's durations. */
public suspend fun OttlaProducer.shutdown(timeout: Duration): Unit = shutdown(timeout.toJavaDuration())

/** Leaves the group, and ends; see the function that UniFFI has made, which takes Java's durations. */
public suspend fun OttlaConsumer.shutdown(timeout: Duration): Unit = shutdown(timeout.toJavaDuration())

/** The facts, which every class of errors has. */
public val OttlaException.info: ErrorInfo
    get() = when (this) {
        is OttlaException.Config -> info
        is OttlaException.Security -> info
        is OttlaException.Timeout -> info
        is OttlaException.Connection -> info
        is OttlaException.Closed -> info
        is OttlaException.Broker -> info
        is OttlaException.Client -> info
    }
