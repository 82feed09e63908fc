package dev.ottla.kafka;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Properties;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.regex.Pattern;

import dev.ottla.Config;
import dev.ottla.OttlaConsumer;
import dev.ottla.RebalanceListener;
import dev.ottla.Serdes;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetCommitCallback;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.InvalidGroupIdException;
import org.apache.kafka.common.errors.RecordDeserializationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.Deserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Kafka's {@link Consumer} over the native core, in place of {@code KafkaConsumer}. It may be shared by threads.
 *
 * <p>A poll gives records of one partition, the next those of another in turn. Callbacks of commits are called by the thread that
 * polls, commits or closes, as with Kafka's.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public class OttlaKafkaConsumer<K, V> implements Consumer<K, V> {
    private static final Logger LOG = LoggerFactory.getLogger("dev.ottla.kafka");
    private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(30);

    private final OttlaConsumer<ByteBuffer, ByteBuffer> consumer;
    private final Deserializer<K> keys;
    private final Deserializer<V> values;
    private final Cluster cluster;
    private final String group;
    private final Optional<String> instance;
    private final Duration apiTimeout;
    /** What is to be told of commits, by the thread that polls. */
    private final Queue<Runnable> committed = new ConcurrentLinkedQueue<>();
    /** Something is subscribed to, or assigned. */
    private volatile boolean isReading;

    /**
     * As Kafka's.
     *
     * @param properties the settings, which name the deserializers
     */
    public OttlaKafkaConsumer(Properties properties) {
        this(Configs.of(properties), null, null);
    }

    /**
     * As Kafka's.
     *
     * @param properties the settings
     * @param keys the keys' deserializer
     * @param values the values' deserializer
     */
    public OttlaKafkaConsumer(Properties properties, Deserializer<K> keys, Deserializer<V> values) {
        this(Configs.of(properties), keys, values);
    }

    /**
     * As Kafka's.
     *
     * @param configs the settings, which name the deserializers
     */
    public OttlaKafkaConsumer(Map<String, Object> configs) {
        this(configs, null, null);
    }

    /**
     * As Kafka's: deserializers that are handed over are not configured.
     *
     * @param configs the settings
     * @param keys the keys' deserializer
     * @param values the values' deserializer
     */
    @SuppressWarnings("unchecked")
    public OttlaKafkaConsumer(Map<String, Object> configs, Deserializer<K> keys, Deserializer<V> values) {
        this.keys = Configs.made("key.deserializer", keys, configs, Deserializer.class);
        this.values = Configs.made("value.deserializer", values, configs, Deserializer.class);
        if (keys == null) {
            this.keys.configure(configs, true);
        }
        if (values == null) {
            this.values.configure(configs, false);
        }
        group = text(configs, "group.id");
        instance = Optional.ofNullable(text(configs, "group.instance.id"));
        String timeout = text(configs, "default.api.timeout.ms");
        apiTimeout = Duration.ofMillis(timeout == null ? 60_000 : Long.parseLong(timeout));
        Map<String, Object> known = Configs.forCore(configs, Config.Of.CONSUMERS);
        cluster = new Cluster(Configs.forCore(configs, Config.Of.ADMINS));
        consumer = Failures.asKafkas(
                () -> new OttlaConsumer<>(known, Serdes.byteBufferDeserializer(), Serdes.byteBufferDeserializer()));
    }

    private static String text(Map<String, Object> configs, String name) {
        Object value = configs.get(name);
        return value == null ? null : value.toString();
    }

    // ---- what is read

    @Override
    public Set<TopicPartition> assignment() {
        return Failures.asKafkas(() -> Converted.kafkas(consumer.assignment()));
    }

    @Override
    public Set<String> subscription() {
        return consumer.subscription();
    }

    @Override
    public void subscribe(Collection<String> topics) {
        subscribe(topics, null);
    }

    @Override
    public void subscribe(Collection<String> topics, ConsumerRebalanceListener listener) {
        if (topics.isEmpty()) {
            unsubscribe();
            return;
        }
        needGroup();
        Failures.asKafkas(() -> consumer.subscribe(topics, told(listener)));
        isReading = true;
    }

    @Override
    public void subscribe(Pattern pattern) {
        subscribe(pattern, null);
    }

    @Override
    public void subscribe(Pattern pattern, ConsumerRebalanceListener listener) {
        needGroup();
        Failures.asKafkas(() -> consumer.subscribe(pattern, told(listener)));
        isReading = true;
    }

    @Override
    public void subscribe(SubscriptionPattern pattern) {
        subscribe(pattern, null);
    }

    @Override
    public void subscribe(SubscriptionPattern pattern, ConsumerRebalanceListener listener) {
        needGroup();
        Failures.asKafkas(() -> consumer.subscribeBrokerPattern(pattern.pattern(), told(listener)));
        isReading = true;
    }

    @Override
    public void assign(Collection<TopicPartition> partitions) {
        if (partitions.isEmpty()) {
            unsubscribe();
            return;
        }
        Failures.asKafkas(() -> consumer.assign(Converted.ours(partitions)));
        isReading = true;
    }

    @Override
    public void unsubscribe() {
        isReading = false;
        Failures.asKafkas(() -> consumer.unsubscribe());
    }

    private void needGroup() {
        if (group == null) {
            throw new InvalidGroupIdException("To use the group management or offset commit APIs, you must provide a valid group.id"
                    + " in the consumer configuration.");
        }
    }

    private static RebalanceListener told(ConsumerRebalanceListener listener) {
        if (listener == null) {
            return null;
        }
        return new RebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<dev.ottla.TopicPartition> partitions) {
                listener.onPartitionsAssigned(Converted.kafkas(partitions));
            }

            @Override
            public void onPartitionsRevoked(Collection<dev.ottla.TopicPartition> partitions) {
                listener.onPartitionsRevoked(Converted.kafkas(partitions));
            }

            @Override
            public void onPartitionsLost(Collection<dev.ottla.TopicPartition> partitions) {
                listener.onPartitionsLost(Converted.kafkas(partitions));
            }
        };
    }

    @Override
    public void seek(TopicPartition partition, long offset) {
        if (offset < 0) {
            throw new IllegalArgumentException("seek offset must not be a negative number");
        }
        Failures.asKafkas(() -> consumer.seek(Converted.ours(partition), offset));
    }

    @Override
    public void seek(TopicPartition partition, OffsetAndMetadata offset) {
        seek(partition, offset.offset());
    }

    @Override
    public void seekToBeginning(Collection<TopicPartition> partitions) {
        Collection<TopicPartition> of = partitions.isEmpty() ? assignment() : partitions;
        Failures.asKafkas(() -> consumer.seekToBeginning(Converted.ours(of)));
    }

    @Override
    public void seekToEnd(Collection<TopicPartition> partitions) {
        Collection<TopicPartition> of = partitions.isEmpty() ? assignment() : partitions;
        Failures.asKafkas(() -> consumer.seekToEnd(Converted.ours(of)));
    }

    @Override
    public long position(TopicPartition partition) {
        return position(partition, apiTimeout);
    }

    @Override
    public long position(TopicPartition partition, Duration timeout) {
        return Failures.asKafkas(() -> consumer.position(Converted.ours(partition), timeout));
    }

    @Override
    public Set<TopicPartition> paused() {
        return Failures.asKafkas(() -> Converted.kafkas(consumer.paused()));
    }

    @Override
    public void pause(Collection<TopicPartition> partitions) {
        Failures.asKafkas(() -> consumer.pause(Converted.ours(partitions)));
    }

    @Override
    public void resume(Collection<TopicPartition> partitions) {
        Failures.asKafkas(() -> consumer.resume(Converted.ours(partitions)));
    }

    @Override
    public OptionalLong currentLag(TopicPartition partition) {
        return Failures.asKafkas(() -> consumer.currentLag(Converted.ours(partition)));
    }

    // ---- records

    @Override
    public ConsumerRecords<K, V> poll(Duration timeout) {
        tellCommits();
        return Failures.asKafkas(() -> {
            if (!isReading) {
                throw new IllegalStateException("Consumer is not subscribed to any topics or assigned any partitions");
            }
            return records(consumer.poll(timeout));
        });
    }

    private ConsumerRecords<K, V> records(dev.ottla.ConsumerRecords<ByteBuffer, ByteBuffer> polled) {
        if (polled.isEmpty()) {
            return ConsumerRecords.empty();
        }
        dev.ottla.TopicPartition of = polled.partitions().iterator().next();
        TopicPartition partition = Converted.kafkas(of);
        List<ConsumerRecord<K, V>> records = new ArrayList<>(polled.count());
        for (var record : polled) {
            try {
                records.add(record(partition, record));
            } catch (RecordDeserializationException e) {
                // The next poll begins with it, unless the program goes past it.
                consumer.seek(of, record.offset());
                if (records.isEmpty()) {
                    throw e;
                }
                return of(partition, records, record.offset());
            }
        }
        return of(partition, records, polled.nextOffsets().get(of).offset());
    }

    private static <K, V> ConsumerRecords<K, V> of(TopicPartition partition, List<ConsumerRecord<K, V>> records, long nextOffset) {
        return new ConsumerRecords<>(Map.of(partition, records), Map.of(partition, new OffsetAndMetadata(nextOffset)));
    }

    private ConsumerRecord<K, V> record(TopicPartition partition, dev.ottla.ConsumerRecord<ByteBuffer, ByteBuffer> record) {
        Headers headers = Converted.kafkas(record.headers());
        K key = deserialized(keys, RecordDeserializationException.DeserializationExceptionOrigin.KEY, partition, record, record.keyBuffer(), headers);
        V value = deserialized(
                values, RecordDeserializationException.DeserializationExceptionOrigin.VALUE, partition, record, record.valueBuffer(), headers);
        return new ConsumerRecord<>(
                partition.topic(),
                partition.partition(),
                record.offset(),
                record.timestamp(),
                TimestampType.CREATE_TIME,
                record.serializedKeySize(),
                record.serializedValueSize(),
                key,
                value,
                headers,
                record.leaderEpoch());
    }

    private static <T> T deserialized(
            Deserializer<T> deserializer,
            RecordDeserializationException.DeserializationExceptionOrigin origin,
            TopicPartition partition,
            dev.ottla.ConsumerRecord<ByteBuffer, ByteBuffer> record,
            ByteBuffer bytes,
            Headers headers) {
        try {
            if (bytes == null) {
                return null;
            }
            // Kafka's read arrays where there is one; this is a view that may be read and not written.
            byte[] copy = new byte[bytes.remaining()];
            bytes.get(copy);
            return deserializer.deserialize(partition.topic(), headers, copy);
        } catch (RuntimeException e) {
            throw new RecordDeserializationException(
                    origin,
                    partition,
                    record.offset(),
                    record.timestamp(),
                    TimestampType.CREATE_TIME,
                    record.keyBuffer(),
                    record.valueBuffer(),
                    headers,
                    "the " + origin.name().toLowerCase(java.util.Locale.ROOT) + " of the record at offset " + record.offset() + " of `" + partition
                            + "` could not be deserialized; seek past it to go on",
                    e);
        }
    }

    @Override
    public void wakeup() {
        consumer.wakeup();
    }

    // ---- commits

    @Override
    public void commitSync() {
        commitSync(apiTimeout);
    }

    @Override
    public void commitSync(Duration timeout) {
        needGroup();
        Failures.asKafkas(() -> consumer.commitSync(timeout));
        tellCommits();
    }

    @Override
    public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets) {
        commitSync(offsets, apiTimeout);
    }

    @Override
    public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets, Duration timeout) {
        needGroup();
        awaited(consumer.commitAsync(Converted.ours(offsets)), timeout);
        tellCommits();
    }

    @Override
    public void commitAsync() {
        commitAsync(null);
    }

    @Override
    public void commitAsync(OffsetCommitCallback callback) {
        needGroup();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        consumer.assignment().forEach(partition -> consumer.positionNow(partition)
                .ifPresent(offset -> offsets.put(Converted.kafkas(partition), new OffsetAndMetadata(offset))));
        told(consumer.commitAsync(), offsets, callback);
    }

    @Override
    public void commitAsync(Map<TopicPartition, OffsetAndMetadata> offsets, OffsetCommitCallback callback) {
        needGroup();
        told(consumer.commitAsync(Converted.ours(offsets)), Map.copyOf(offsets), callback);
    }

    private void told(CompletableFuture<Void> commit, Map<TopicPartition, OffsetAndMetadata> offsets, OffsetCommitCallback callback) {
        commit.whenComplete((ok, failure) -> {
            Exception kafkas = failure == null ? null : Failures.kafkas(failure);
            if (callback != null) {
                committed.add(() -> callback.onComplete(offsets, kafkas));
            } else if (kafkas != null) {
                LOG.error("offsets {} were not committed", offsets, kafkas);
            }
        });
    }

    private void tellCommits() {
        for (Runnable next = committed.poll(); next != null; next = committed.poll()) {
            next.run();
        }
    }

    @Override
    public Map<TopicPartition, OffsetAndMetadata> committed(Set<TopicPartition> partitions) {
        return committed(partitions, apiTimeout);
    }

    @Override
    public Map<TopicPartition, OffsetAndMetadata> committed(Set<TopicPartition> partitions, Duration timeout) {
        needGroup();
        Map<TopicPartition, OffsetAndMetadata> found = Failures.asKafkas(
                () -> Converted.kafkas(consumer.committed(new LinkedHashSet<>(Converted.ours(partitions))), Converted::kafkas));
        Map<TopicPartition, OffsetAndMetadata> all = new HashMap<>();
        partitions.forEach(partition -> all.put(partition, found.get(partition)));
        return all;
    }

    @Override
    public ConsumerGroupMetadata groupMetadata() {
        needGroup();
        return new ConsumerGroupMetadata(group, -1, "", instance);
    }

    // ---- questions

    @Override
    public Map<TopicPartition, Long> beginningOffsets(Collection<TopicPartition> partitions) {
        return Failures.asKafkas(() -> Converted.kafkas(consumer.beginningOffsets(Converted.ours(partitions)), offset -> offset));
    }

    @Override
    public Map<TopicPartition, Long> beginningOffsets(Collection<TopicPartition> partitions, Duration timeout) {
        return beginningOffsets(partitions);
    }

    @Override
    public Map<TopicPartition, Long> endOffsets(Collection<TopicPartition> partitions) {
        return Failures.asKafkas(() -> Converted.kafkas(consumer.endOffsets(Converted.ours(partitions)), offset -> offset));
    }

    @Override
    public Map<TopicPartition, Long> endOffsets(Collection<TopicPartition> partitions, Duration timeout) {
        return endOffsets(partitions);
    }

    @Override
    public Map<TopicPartition, OffsetAndTimestamp> offsetsForTimes(Map<TopicPartition, Long> times) {
        Map<dev.ottla.TopicPartition, Long> ours = new HashMap<>();
        times.forEach((partition, time) -> ours.put(Converted.ours(partition), time));
        return Failures.asKafkas(() -> Converted.kafkas(consumer.offsetsForTimes(ours), Converted::kafkas));
    }

    @Override
    public Map<TopicPartition, OffsetAndTimestamp> offsetsForTimes(Map<TopicPartition, Long> times, Duration timeout) {
        return offsetsForTimes(times);
    }

    @Override
    public List<PartitionInfo> partitionsFor(String topic) {
        return partitionsFor(topic, apiTimeout);
    }

    @Override
    public List<PartitionInfo> partitionsFor(String topic, Duration timeout) {
        return cluster.partitions(topic, timeout);
    }

    @Override
    public Map<String, List<PartitionInfo>> listTopics() {
        return listTopics(apiTimeout);
    }

    @Override
    public Map<String, List<PartitionInfo>> listTopics(Duration timeout) {
        return cluster.topics(timeout);
    }

    @Override
    public Map<MetricName, ? extends Metric> metrics() {
        return Failures.asKafkas(() -> Converted.kafkas(consumer.metrics(), "consumer-fetch-manager-metrics"));
    }

    // ---- the end

    @Override
    public void close() {
        close(CLOSE_TIMEOUT);
    }

    @Override
    public void close(CloseOptions options) {
        close(options.timeout().orElse(CLOSE_TIMEOUT));
    }

    @Override
    @Deprecated
    public void close(Duration timeout) {
        try {
            Failures.asKafkas(() -> consumer.close(timeout));
            tellCommits();
        } finally {
            cluster.close();
            keys.close();
            values.close();
        }
    }

    // ---- what is not there

    @Override
    public void enforceRebalance() {
        enforceRebalance(null);
    }

    @Override
    public void enforceRebalance(String reason) {
        throw new UnsupportedOperationException("the group rebalances by itself");
    }

    @Override
    public void registerMetricForSubscription(KafkaMetric metric) {
        throw new UnsupportedOperationException("brokers are not told of a program's own metrics");
    }

    @Override
    public void unregisterMetricFromSubscription(KafkaMetric metric) {
        throw new UnsupportedOperationException("brokers are not told of a program's own metrics");
    }

    @Override
    public Uuid clientInstanceId(Duration timeout) {
        throw new IllegalStateException("brokers are not told of metrics");
    }

    private static void awaited(CompletableFuture<Void> future, Duration timeout) {
        try {
            future.get(timeout.toMillis(), java.util.concurrent.TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            throw new org.apache.kafka.common.errors.InterruptException(e);
        } catch (java.util.concurrent.TimeoutException e) {
            throw new TimeoutException("the offsets were not committed in the time given");
        } catch (java.util.concurrent.ExecutionException e) {
            throw Failures.kafkas(e);
        }
    }
}
