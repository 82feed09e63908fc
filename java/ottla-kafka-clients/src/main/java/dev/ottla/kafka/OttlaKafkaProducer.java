package dev.ottla.kafka;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

import dev.ottla.Config;
import dev.ottla.OttlaProducer;
import dev.ottla.Serdes;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.serialization.Serializer;

/**
 * Kafka's {@link Producer} over the native core, in place of {@code KafkaProducer}.
 *
 * <p>Without transactions, interceptors and partitioners of Java's: what is not there throws, or is refused in the configuration.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public class OttlaKafkaProducer<K, V> implements Producer<K, V> {
    private static final Duration API_TIMEOUT = Duration.ofSeconds(60);

    private final OttlaProducer<byte[], byte[]> producer;
    private final Serializer<K> keys;
    private final Serializer<V> values;
    private final Cluster cluster;

    /**
     * As Kafka's.
     *
     * @param properties the settings, which name the serializers
     */
    public OttlaKafkaProducer(Properties properties) {
        this(Configs.of(properties), null, null);
    }

    /**
     * As Kafka's.
     *
     * @param properties the settings
     * @param keys the keys' serializer
     * @param values the values' serializer
     */
    public OttlaKafkaProducer(Properties properties, Serializer<K> keys, Serializer<V> values) {
        this(Configs.of(properties), keys, values);
    }

    /**
     * As Kafka's.
     *
     * @param configs the settings, which name the serializers
     */
    public OttlaKafkaProducer(Map<String, Object> configs) {
        this(configs, null, null);
    }

    /**
     * As Kafka's: serializers that are handed over are not configured.
     *
     * @param configs the settings
     * @param keys the keys' serializer
     * @param values the values' serializer
     */
    @SuppressWarnings("unchecked")
    public OttlaKafkaProducer(Map<String, Object> configs, Serializer<K> keys, Serializer<V> values) {
        this.keys = Configs.made("key.serializer", keys, configs, Serializer.class);
        this.values = Configs.made("value.serializer", values, configs, Serializer.class);
        if (keys == null) {
            this.keys.configure(configs, true);
        }
        if (values == null) {
            this.values.configure(configs, false);
        }
        Map<String, Object> known = Configs.forCore(configs, Config.Of.PRODUCERS);
        cluster = new Cluster(Configs.forCore(configs, Config.Of.ADMINS));
        producer = Failures.asKafkas(() -> new OttlaProducer<>(known, Serdes.bytesSerializer(), Serdes.bytesSerializer()));
    }

    @Override
    public Future<RecordMetadata> send(ProducerRecord<K, V> record) {
        return send(record, null);
    }

    @Override
    public Future<RecordMetadata> send(ProducerRecord<K, V> record, Callback callback) {
        byte[] key = serialized(keys, record, record.key(), "key");
        byte[] value = serialized(values, record, record.value(), "value");
        boolean hasHeaders = record.headers().iterator().hasNext();
        var ours = new dev.ottla.ProducerRecord<>(
                record.topic(), record.partition(), record.timestamp(), key, value, hasHeaders ? Converted.ours(record.headers()) : null);
        int keySize = key == null ? -1 : key.length;
        int valueSize = value == null ? -1 : value.length;
        return Failures.asKafkas(() -> new Sent(producer.send(ours, told(record, callback, keySize, valueSize)), keySize, valueSize));
    }

    /** A failure comes with metadata, too, of which only the partition is known. */
    private static dev.ottla.Callback told(ProducerRecord<?, ?> record, Callback callback, int keySize, int valueSize) {
        if (callback == null) {
            return null;
        }
        return (written, failure) -> {
            if (failure == null) {
                callback.onCompletion(Converted.kafkas(written, keySize, valueSize), null);
            } else {
                int partition = record.partition() == null ? RecordMetadata.UNKNOWN_PARTITION : record.partition();
                RecordMetadata nowhere =
                        new RecordMetadata(new TopicPartition(record.topic(), partition), -1, -1, -1, -1, -1);
                callback.onCompletion(nowhere, Failures.kafkas(failure));
            }
        };
    }

    private static <T> byte[] serialized(Serializer<T> serializer, ProducerRecord<?, ?> record, T data, String what) {
        try {
            return serializer.serialize(record.topic(), record.headers(), data);
        } catch (ClassCastException e) {
            throw new SerializationException("the " + what + " of a record for `" + record.topic() + "` is of class "
                    + data.getClass().getName() + ", which " + serializer.getClass().getName() + " does not take", e);
        }
    }

    /** Waits as ours does, and tells as Kafka's. */
    private record Sent(CompletableFuture<dev.ottla.RecordMetadata> future, int keySize, int valueSize) implements Future<RecordMetadata> {
        @Override
        public boolean cancel(boolean mayInterruptIfRunning) {
            return false;
        }

        @Override
        public boolean isCancelled() {
            return false;
        }

        @Override
        public boolean isDone() {
            return future.isDone();
        }

        @Override
        public RecordMetadata get() throws InterruptedException, ExecutionException {
            try {
                return Converted.kafkas(future.get(), keySize, valueSize);
            } catch (ExecutionException e) {
                throw new ExecutionException(Failures.kafkas(e));
            }
        }

        @Override
        public RecordMetadata get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
            try {
                return Converted.kafkas(future.get(timeout, unit), keySize, valueSize);
            } catch (ExecutionException e) {
                throw new ExecutionException(Failures.kafkas(e));
            }
        }
    }

    @Override
    public void flush() {
        Failures.asKafkas(() -> producer.flush());
    }

    @Override
    public List<PartitionInfo> partitionsFor(String topic) {
        // Makes it, where brokers make topics that are asked for.
        Failures.asKafkas(() -> producer.partitionCount(topic));
        return cluster.partitions(topic, API_TIMEOUT);
    }

    @Override
    public Map<MetricName, ? extends Metric> metrics() {
        return Failures.asKafkas(() -> Converted.kafkas(producer.metrics(), "producer-metrics"));
    }

    @Override
    public void close() {
        close(Duration.ofMillis(Long.MAX_VALUE));
    }

    @Override
    public void close(Duration timeout) {
        try {
            Failures.asKafkas(() -> producer.close(timeout));
        } finally {
            cluster.close();
            keys.close();
            values.close();
        }
    }

    // ---- what is not there

    @Override
    public void initTransactions() {
        throw withoutTransactions();
    }

    @Override
    public void beginTransaction() {
        throw withoutTransactions();
    }

    @Override
    public void sendOffsetsToTransaction(Map<TopicPartition, OffsetAndMetadata> offsets, ConsumerGroupMetadata group) {
        throw withoutTransactions();
    }

    @Override
    public void commitTransaction() {
        throw withoutTransactions();
    }

    @Override
    public void abortTransaction() {
        throw withoutTransactions();
    }

    private static UnsupportedOperationException withoutTransactions() {
        return new UnsupportedOperationException("there are no transactions yet");
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
}
