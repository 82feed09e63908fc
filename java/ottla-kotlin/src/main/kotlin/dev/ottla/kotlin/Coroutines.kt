/** Ottla's clients for coroutines: what takes time suspends, and holds up no thread. */
@file:JvmName("Coroutines")

package dev.ottla.kotlin

import dev.ottla.ConsumerRecord
import dev.ottla.ConsumerRecords
import dev.ottla.ErrorCode
import dev.ottla.OffsetAndMetadata
import dev.ottla.OttlaAdmin
import dev.ottla.OttlaConsumer
import dev.ottla.OttlaException
import dev.ottla.OttlaProducer
import dev.ottla.ProducerRecord
import dev.ottla.RecordMetadata
import dev.ottla.TopicPartition
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.future.await
import java.util.concurrent.CompletableFuture
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.toJavaDuration

/** How long one look for records goes on; then there is another. */
private val PATIENCE = 1.minutes

/** Takes a record, and suspends until it is written. Cancelled, it is sent all the same. */
public suspend fun <K, V> OttlaProducer<K, V>.sendAndAwait(record: ProducerRecord<K, V>): RecordMetadata = send(record).ended()

/** Takes a record, and suspends until it is written. Cancelled, it is sent all the same. */
public suspend fun <K, V> OttlaProducer<K, V>.sendAndAwait(topic: String, key: K?, value: V?): RecordMetadata =
    send(topic, key, value).ended()

/** Suspends until all that was taken is acknowledged, or has failed. */
public suspend fun OttlaProducer<*, *>.awaitFlush() {
    flushAsync().ended()
}

/** The next records, as `poll` gives them; none if none come within [timeout]. */
public suspend fun <K, V> OttlaConsumer<K, V>.awaitRecords(timeout: Duration): ConsumerRecords<K, V> =
    pollAsync(timeout.toJavaDuration()).await()

/**
 * Batches, until the consumer is closed. In a group one counts as done when the next is asked for; one whose collector fails, or is
 * cancelled, counts as not begun.
 */
public fun <K, V> OttlaConsumer<K, V>.batches(): Flow<ConsumerRecords<K, V>> = flow {
    while (true) {
        val batch = next() ?: break
        var isTaken = false
        try {
            if (!batch.isEmpty) {
                emit(batch)
            }
            isTaken = true
        } finally {
            if (!isTaken) {
                giveBack(batch)
            }
        }
    }
}

/**
 * Records, until the consumer is closed. In a group one counts as done when the collector has done with it: those behind it, if it fails
 * or is cancelled, are given again.
 */
public fun <K, V> OttlaConsumer<K, V>.asFlow(): Flow<ConsumerRecord<K, V>> = flow {
    while (true) {
        val batch = next() ?: break
        var done = 0
        try {
            for (record in batch) {
                emit(record)
                done++
            }
        } finally {
            giveBack(batch.skip(done))
        }
    }
}

/** Commits all that was given, and suspends until the group has it. */
public suspend fun OttlaConsumer<*, *>.awaitCommit() {
    commitAsync().ended()
}

/** Commits these offsets, and suspends until the group has them. */
public suspend fun OttlaConsumer<*, *>.awaitCommit(offsets: Map<TopicPartition, OffsetAndMetadata>) {
    commitAsync(offsets).ended()
}

/** Suspends until there is an outcome for each; the first failure is thrown. */
public suspend fun <K, V> OttlaAdmin.Outcomes<K, V>.await(): Map<K, V> = all().await()

private suspend fun <K, V> OttlaConsumer<K, V>.next(): ConsumerRecords<K, V>? =
    try {
        awaitRecords(PATIENCE)
    } catch (failure: OttlaException) {
        if (failure.error() == ErrorCode.CLOSED) null else throw failure
    }

/** Waits for what goes on though nobody waits for it: so the future itself is never cancelled. */
private suspend fun <T> CompletableFuture<T>.ended(): T = copy().await()
