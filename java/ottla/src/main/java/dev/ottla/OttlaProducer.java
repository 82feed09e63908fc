package dev.ottla;

import java.io.ByteArrayOutputStream;
import java.lang.ref.Reference;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Sends records. Thread-safe: one is enough for a program.
 *
 * <pre>{@code
 * try (var producer = OttlaProducer.<String, String>builder()
 *         .bootstrapServers("localhost:9092")
 *         .keySerializer(Serdes.stringSerializer())
 *         .valueSerializer(Serdes.stringSerializer())
 *         .build()) {
 *     CompletableFuture<RecordMetadata> written = producer.send("orders", "42", "two apples");
 *     System.out.println(written.join().offset());
 * }
 * }</pre>
 *
 * <p>{@link #send} copies the record and returns; it waits only where there is no room, or a topic is new to it, at most
 * {@code max.block.ms}. Its future ends on a thread of the library: what takes long, and depends on it, belongs on another
 * ({@code thenApplyAsync}). Records with the same key, or partition, are written in the order of the calls.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public final class OttlaProducer<K, V> implements AutoCloseable {
    private static final long CLOSE_MS_MAX = TimeUnit.DAYS.toMillis(365);

    private final long number;
    private final Accumulator accumulator;
    private final Serializer<K> keys;
    private final Serializer<V> values;
    private final Forgotten forgotten;
    private final AtomicReference<CompletableFuture<Void>> closing = new AtomicReference<>();

    /**
     * One with these settings, which name the serializers; without, bytes stay bytes.
     *
     * @param configs Kafka's keys; a {@link java.util.Properties} is one
     */
    public OttlaProducer(Map<?, ?> configs) {
        this(configs, null, null);
    }

    /**
     * One with these settings and serializers.
     *
     * @param configs Kafka's keys; a {@link java.util.Properties} is one
     * @param keys the keys' serializer; null for that of the settings
     * @param values the values' serializer; null for that of the settings
     */
    public OttlaProducer(Map<?, ?> configs, Serializer<K> keys, Serializer<V> values) {
        Settings settings = Settings.of(configs);
        this.keys = settings.serializer("key.serializer", keys);
        this.values = settings.serializer("value.serializer", values);
        Completions completions = Completions.SHARED;
        number = In.answer(Native.producerNew(completions.queue(), settings.encoded())).i64();
        accumulator = new Accumulator(number, settings.number("linger.ms", 5), settings.number("max.block.ms", 60_000));
        completions.add(number, accumulator, settings.provider());
        Accumulator abandoned = accumulator;
        forgotten = Forgotten.watch(this, abandoned::abandon);
    }

    /**
     * Makes one step by step.
     *
     * @param <K> what keys are
     * @param <V> what values are
     * @return a builder
     */
    public static <K, V> Builder<K, V> builder() {
        return new Builder<>();
    }

    /**
     * Takes a record.
     *
     * @param record the record
     * @return where it was written, once it is; or why it was not
     * @throws SerializationException if a serializer fails
     */
    public CompletableFuture<RecordMetadata> send(ProducerRecord<K, V> record) {
        return sent(record, new SendFuture(accumulator));
    }

    /**
     * Takes a record, and calls back when its fate is known, before the future ends.
     *
     * @param record the record
     * @param callback is told; null for none
     * @return where it was written, once it is; or why it was not
     * @throws SerializationException if a serializer fails
     */
    public CompletableFuture<RecordMetadata> send(ProducerRecord<K, V> record, Callback callback) {
        return sent(record, callback == null ? new SendFuture(accumulator) : new SendFuture.Told(accumulator, callback));
    }

    /**
     * Takes a record.
     *
     * @param topic the topic
     * @param key the key, or null
     * @param value the value, or null
     * @return where it was written, once it is; or why it was not
     * @throws SerializationException if a serializer fails
     */
    public CompletableFuture<RecordMetadata> send(String topic, K key, V value) {
        SendFuture future = new SendFuture(accumulator);
        try {
            append(topic, key, value, future);
        } catch (SerializationException failure) {
            throw failure;
        } catch (OttlaException failure) {
            return refused(future, failure);
        }
        return future;
    }

    /**
     * Takes a record whose fate nobody asks for: failures are logged and counted, and {@link #flush()} waits for it all the same.
     *
     * @param record the record
     * @throws OttlaException if it cannot be taken
     */
    public void sendAndForget(ProducerRecord<K, V> record) {
        append(record, null);
    }

    /**
     * Takes a record whose fate nobody asks for.
     *
     * @param topic the topic
     * @param key the key, or null
     * @param value the value, or null
     * @throws OttlaException if it cannot be taken
     */
    public void sendAndForget(String topic, K key, V value) {
        append(topic, key, value, null);
    }

    private CompletableFuture<RecordMetadata> sent(ProducerRecord<K, V> record, SendFuture future) {
        try {
            append(record, future);
        } catch (SerializationException failure) {
            throw failure;
        } catch (OttlaException failure) {
            return refused(future, failure);
        }
        return future;
    }

    /** A closed producer is a mistake of the program, and thrown; all else the future tells. */
    private CompletableFuture<RecordMetadata> refused(SendFuture future, OttlaException failure) {
        if (failure.error() == ErrorCode.CLOSED || failure instanceof InterruptException) {
            throw failure;
        }
        future.end(null, failure);
        return future;
    }

    private void append(ProducerRecord<K, V> record, SendFuture future) {
        String topic = record.topic();
        boolean wantsHeaders = keys.usesHeaders() || values.usesHeaders();
        byte[] key = serialized(keys, topic, wantsHeaders ? record.headers() : null, record.key(), "key");
        byte[] value = serialized(values, topic, wantsHeaders ? record.headers() : null, record.value(), "value");
        boolean hasHeaders = record.hasHeaders();
        accumulator.append(
                topic,
                record.partition() == null ? -1 : record.partition(),
                record.timestamp() == null ? -1 : record.timestamp(),
                key,
                value,
                hasHeaders ? encoded(record.headers()) : null,
                hasHeaders ? record.headers().size() : 0,
                future);
        // Until here nobody has forgotten it.
        Reference.reachabilityFence(this);
    }

    private void append(String topic, K key, V value, SendFuture future) {
        if (keys.usesHeaders() || values.usesHeaders()) {
            append(new ProducerRecord<>(topic, key, value), future);
            return;
        }
        byte[] keyBytes = serialized(keys, topic, null, key, "key");
        accumulator.append(topic, -1, -1, keyBytes, serialized(values, topic, null, value, "value"), null, 0, future);
        Reference.reachabilityFence(this);
    }

    private static <T> byte[] serialized(Serializer<T> serializer, String topic, Headers headers, T data, String what) {
        if (data == null && !serializer.handlesNull()) {
            return null;
        }
        try {
            return headers == null ? serializer.serialize(topic, data) : serializer.serialize(topic, headers, data);
        } catch (RuntimeException e) {
            String text = "the " + what + " of a record for `" + topic + "` could not be serialized";
            throw new SerializationException(ErrorCode.INVALID_ARG, text, e);
        }
    }

    /** As a slab has them: lengths of 4 bytes, the lowest first. */
    private static byte[] encoded(Headers headers) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(64);
        for (Header header : headers) {
            part(out, header.key().getBytes(StandardCharsets.UTF_8));
            part(out, header.value());
        }
        return out.toByteArray();
    }

    private static void part(ByteArrayOutputStream out, byte[] bytes) {
        int length = bytes == null ? -1 : bytes.length;
        for (int shift = 0; shift < 32; shift += 8) {
            out.write(length >> shift);
        }
        if (bytes != null) {
            out.writeBytes(bytes);
        }
    }

    /** Waits until all that was taken is acknowledged, or has failed. */
    public void flush() {
        Completions.SHARED.await(flushAsync(), Long.MAX_VALUE);
    }

    /**
     * Waits until all that was taken is acknowledged, or has failed.
     *
     * @param timeout how long at most
     * @throws dev.ottla.errors.TimeoutException if it is not in that time
     */
    public void flush(Duration timeout) {
        Completions.SHARED.await(flushAsync(), timeout.toNanos());
    }

    /**
     * Sends what was taken without further linger.
     *
     * @return done when all that was taken is acknowledged, or has failed
     */
    public CompletableFuture<Void> flushAsync() {
        return accumulator.flush();
    }

    /**
     * How many partitions a topic has; waits for it to be known.
     *
     * @param topic the topic
     * @return their number
     */
    public int partitionCount(String topic) {
        byte[] request = new Out().text(topic).bytes();
        return Completions.SHARED.await(
                Completions.SHARED.start((q, t) -> Native.producerPartitionCount(number, request, q, t), In::i32), Long.MAX_VALUE);
    }

    /**
     * What it has counted.
     *
     * @return values by name, as the guide lists them; not a number where there is none yet
     */
    public Map<String, Double> metrics() {
        return In.answer(Native.producerMetrics(number)).metrics();
    }

    /** Sends what was taken, waits for it, and ends. Closing again does nothing. */
    @Override
    public void close() {
        close(Duration.ofMillis(CLOSE_MS_MAX));
    }

    /**
     * Sends what was taken, waits for it, and ends.
     *
     * @param timeout what is not acknowledged in this time fails, and then this does, too
     */
    public void close(Duration timeout) {
        Completions.SHARED.await(closeAsync(timeout), Long.MAX_VALUE);
    }

    /**
     * Sends what was taken, and ends.
     *
     * @param timeout what is not acknowledged in this time fails, and then the future does, too
     * @return done at the end
     */
    public CompletableFuture<Void> closeAsync(Duration timeout) {
        CompletableFuture<Void> mine = new CompletableFuture<>();
        if (!closing.compareAndSet(null, mine)) {
            return closing.get().copy();
        }
        forgotten.cancel();
        long ms = Math.min(CLOSE_MS_MAX, Math.max(0, timeout.toMillis()));
        accumulator.close(ms).whenComplete((ok, failure) -> {
            keys.close();
            values.close();
            if (failure == null) {
                mine.complete(null);
            } else {
                mine.completeExceptionally(failure instanceof java.util.concurrent.CompletionException ? failure.getCause() : failure);
            }
        });
        return mine.copy();
    }

    /**
     * Makes a producer step by step.
     *
     * @param <K> what keys are
     * @param <V> what values are
     */
    public static final class Builder<K, V> {
        private final Map<String, Object> configs = new LinkedHashMap<>();
        private Serializer<K> keys;
        private Serializer<V> values;

        private Builder() {}

        /**
         * Where the brokers are.
         *
         * @param servers as {@code host:port,host:port}; one that answers is enough
         * @return this
         */
        public Builder<K, V> bootstrapServers(String servers) {
            return config("bootstrap.servers", servers);
        }

        /**
         * How batches are compressed.
         *
         * @param codec {@code none}, {@code gzip}, {@code snappy}, {@code lz4} or {@code zstd}
         * @return this
         */
        public Builder<K, V> compression(String codec) {
            return config("compression.type", codec);
        }

        /**
         * How long a record waits for others at most.
         *
         * @param linger the time
         * @return this
         */
        public Builder<K, V> linger(Duration linger) {
            return config("linger.ms", linger);
        }

        /**
         * Any setting.
         *
         * @param name Kafka's key
         * @param value its value
         * @return this
         */
        public Builder<K, V> config(String name, Object value) {
            configs.put(name, value);
            return this;
        }

        /**
         * Many settings.
         *
         * @param settings Kafka's keys
         * @return this
         */
        public Builder<K, V> config(Map<String, ?> settings) {
            configs.putAll(settings);
            return this;
        }

        /**
         * What makes bytes of keys.
         *
         * @param serializer the serializer
         * @return this
         */
        public Builder<K, V> keySerializer(Serializer<K> serializer) {
            keys = serializer;
            return this;
        }

        /**
         * What makes bytes of values.
         *
         * @param serializer the serializer
         * @return this
         */
        public Builder<K, V> valueSerializer(Serializer<V> serializer) {
            values = serializer;
            return this;
        }

        /**
         * The producer.
         *
         * @return a new one
         */
        public OttlaProducer<K, V> build() {
            return new OttlaProducer<>(configs, keys, values);
        }
    }
}
