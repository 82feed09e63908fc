package dev.ottla;

import java.lang.ref.Reference;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Flow;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Pattern;

/**
 * Reads records. Thread-safe; heartbeats and fetches are done on a thread of its own.
 *
 * <pre>{@code
 * try (var consumer = OttlaConsumer.<String, String>builder()
 *         .bootstrapServers("localhost:9092")
 *         .groupId("billing")
 *         .topics("orders")
 *         .keyDeserializer(Serdes.stringDeserializer())
 *         .valueDeserializer(Serdes.stringDeserializer())
 *         .build()) {
 *     while (true) {
 *         for (var record : consumer.poll(Duration.ofSeconds(1))) {
 *             System.out.println(record.key() + " " + record.value());
 *         }
 *     }
 * }
 * }</pre>
 *
 * <p>In a group, records count as done when the next are asked for, and are committed by themselves; {@code enable.auto.commit=false}
 * leaves commits to the program. Of several threads that poll, one is given records at a time.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public final class OttlaConsumer<K, V> implements AutoCloseable {
    /** A wait looks for records at least so often, which keeps the consumer in its group. */
    private static final long LOOK_NANOS = TimeUnit.SECONDS.toNanos(1);
    /** How often a position that is being looked for is asked for. */
    private static final long POSITION_NANOS = TimeUnit.MILLISECONDS.toNanos(5);
    private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(30);

    private final long number;
    private final Core core;
    private final ConsumerRecord.Deserializers<K, V> deserializers;
    private final int maxPollRecords;
    private final long apiTimeoutNanos;
    private final ReentrantLock polling = new ReentrantLock();
    private final Forgotten forgotten;
    private volatile Set<String> subscription = Set.of();
    /** What was taken for somebody who did not want it any more; with the lock held. */
    private ConsumerRecords<K, V> leftOver;

    /** What is told to the consumer, and does not keep it. */
    private static final class Core implements Completions.Client {
        final long number;
        final Semaphore bell = new Semaphore(0);
        final AtomicBoolean isWoken = new AtomicBoolean();
        final AtomicBoolean isClosed = new AtomicBoolean();
        final AtomicBoolean isListening = new AtomicBoolean();
        /** Whoever waits without a thread. */
        final AtomicReference<Runnable> whenRung = new AtomicReference<>();
        final Queue<Rebalance> rebalances = new ConcurrentLinkedQueue<>();
        volatile RebalanceListener listener;

        Core(long number) {
            this.number = number;
        }

        @Override
        public void ready() {
            ring();
        }

        @Override
        public void rebalance(Rebalance rebalance) {
            if (listener == null) {
                rebalance.done();
            } else {
                rebalances.add(rebalance);
                ring();
            }
        }

        void ring() {
            if (bell.availablePermits() == 0) {
                bell.release();
            }
            Runnable next = whenRung.getAndSet(null);
            if (next != null) {
                next.run();
            }
        }

        void await(long nanos) {
            try {
                if (bell.tryAcquire(nanos, TimeUnit.NANOSECONDS)) {
                    bell.drainPermits();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new InterruptException("the thread was interrupted while it waited for records", e);
            }
        }

        /** Tells the listener, on this thread. */
        void tellRebalances() {
            RuntimeException failure = null;
            for (Rebalance next = rebalances.poll(); next != null; next = rebalances.poll()) {
                RebalanceListener told = listener;
                try {
                    if (told != null) {
                        next.tell(told);
                    }
                } catch (RuntimeException e) {
                    failure = failure == null ? e : failure;
                } finally {
                    next.done();
                }
            }
            if (failure != null) {
                throw failure;
            }
        }

        /** Nobody has it any more; it leaves its group in the background. */
        void free() {
            Completions.SHARED.remove(number);
            for (Rebalance next = rebalances.poll(); next != null; next = rebalances.poll()) {
                next.done();
            }
            Native.consumerFree(number);
        }
    }

    /**
     * One with these settings, which name the deserializers; without, bytes stay bytes.
     *
     * @param configs Kafka's keys; a {@link java.util.Properties} is one
     */
    public OttlaConsumer(Map<?, ?> configs) {
        this(configs, null, null);
    }

    /**
     * One with these settings and deserializers.
     *
     * @param configs Kafka's keys; a {@link java.util.Properties} is one
     * @param keys the keys' deserializer; null for that of the settings
     * @param values the values' deserializer; null for that of the settings
     */
    public OttlaConsumer(Map<?, ?> configs, Deserializer<K> keys, Deserializer<V> values) {
        Settings settings = Settings.of(configs);
        deserializers = new ConsumerRecord.Deserializers<>(
                settings.deserializer("key.deserializer", keys), settings.deserializer("value.deserializer", values));
        maxPollRecords = (int) Math.min(Integer.MAX_VALUE, Math.max(1, settings.number("max.poll.records", 500)));
        apiTimeoutNanos = TimeUnit.MILLISECONDS.toNanos(settings.number("default.api.timeout.ms", 60_000));
        Completions completions = Completions.SHARED;
        number = In.answer(Native.consumerNew(completions.queue(), settings.encoded())).i64();
        core = new Core(number);
        completions.add(number, core, settings.provider());
        Core abandoned = core;
        forgotten = Forgotten.watch(this, abandoned::free);
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

    // ---- what is read

    /**
     * Reads these partitions and no others.
     *
     * @param partitions the partitions; none for nothing
     */
    public void assign(Collection<TopicPartition> partitions) {
        ask(Native.consumerAssign(number, new Out().partitions(partitions).bytes()));
    }

    /**
     * Reads these topics and no others, with the other members of the group.
     *
     * @param topics their names
     */
    public void subscribe(Collection<String> topics) {
        subscribe(topics, null);
    }

    /**
     * Reads these topics and no others, with the other members of the group.
     *
     * @param topics their names
     * @param listener is told what comes and goes; null for nobody
     */
    public void subscribe(Collection<String> topics, RebalanceListener listener) {
        listen(listener);
        ask(Native.consumerSubscribe(number, new Out().texts(topics).bytes()));
        subscription = Set.copyOf(topics);
    }

    /**
     * Reads all topics whose whole name matches, with the other members of the group.
     *
     * @param pattern the pattern, which must mean the same in Rust's syntax
     */
    public void subscribe(Pattern pattern) {
        subscribe(pattern, null);
    }

    /**
     * Reads all topics whose whole name matches, with the other members of the group.
     *
     * @param pattern the pattern, which must mean the same in Rust's syntax
     * @param listener is told what comes and goes; null for nobody
     */
    public void subscribe(Pattern pattern, RebalanceListener listener) {
        listen(listener);
        ask(Native.consumerSubscribePattern(number, new Out().text(pattern.pattern()).bool(false).bytes()));
    }

    /**
     * Reads all topics that match a pattern by the broker's judgement (KIP-848).
     *
     * @param pattern in RE2's syntax
     * @param listener is told what comes and goes; null for nobody
     */
    public void subscribeBrokerPattern(String pattern, RebalanceListener listener) {
        listen(listener);
        ask(Native.consumerSubscribePattern(number, new Out().text(pattern).bool(true).bytes()));
    }

    private void listen(RebalanceListener listener) {
        core.listener = listener;
        if (listener != null && core.isListening.compareAndSet(false, true)) {
            ask(Native.consumerListen(number, Completions.SHARED.queue()));
        }
    }

    /** Leaves the group, with what the program is done with committed; or reads no partitions any more. */
    public void unsubscribe() {
        subscription = Set.of();
        awaitTelling(this.<Void>start(Native::consumerUnsubscribe, null, in -> null), apiTimeoutNanos);
    }

    /**
     * What is assigned.
     *
     * @return the partitions
     */
    public Set<TopicPartition> assignment() {
        return new LinkedHashSet<>(ask(Native.consumerAssignment(number)).partitions());
    }

    /**
     * What is subscribed to by name.
     *
     * @return the topics
     */
    public Set<String> subscription() {
        return subscription;
    }

    /**
     * Goes to an offset.
     *
     * @param partition one that is assigned
     * @param offset the offset of the next record to be given
     */
    public void seek(TopicPartition partition, long offset) {
        ask(Native.consumerSeek(number, new Out().partition(partition).i64(offset).bytes()));
    }

    /**
     * Goes to the first records that are still there.
     *
     * @param partitions some that are assigned
     */
    public void seekToBeginning(Collection<TopicPartition> partitions) {
        ask(Native.consumerSeekTo(number, new Out().i64(-2).partitions(partitions).bytes()));
    }

    /**
     * Goes behind the last records.
     *
     * @param partitions some that are assigned
     */
    public void seekToEnd(Collection<TopicPartition> partitions) {
        ask(Native.consumerSeekTo(number, new Out().i64(-1).partitions(partitions).bytes()));
    }

    /**
     * Holds partitions: nothing of them is given.
     *
     * @param partitions some that are assigned
     */
    public void pause(Collection<TopicPartition> partitions) {
        ask(Native.consumerPause(number, new Out().partitions(partitions).bytes()));
    }

    /**
     * Lets partitions that are held go on.
     *
     * @param partitions some that are assigned
     */
    public void resume(Collection<TopicPartition> partitions) {
        ask(Native.consumerResume(number, new Out().partitions(partitions).bytes()));
    }

    /**
     * The partitions that are held.
     *
     * @return the partitions
     */
    public Set<TopicPartition> paused() {
        return new LinkedHashSet<>(ask(Native.consumerPaused(number)).partitions());
    }

    /**
     * Offset of the next record to be given; waits for it, where it is being looked for.
     *
     * @param partition one that is assigned
     * @return the offset
     */
    public long position(TopicPartition partition) {
        return position(partition, Duration.ofNanos(apiTimeoutNanos));
    }

    /**
     * Offset of the next record to be given; waits for it, where it is being looked for.
     *
     * @param partition one that is assigned
     * @param timeout how long at most
     * @return the offset
     * @throws dev.ottla.errors.TimeoutException if it is not found in that time
     */
    public long position(TopicPartition partition, Duration timeout) {
        long began = System.nanoTime();
        while (true) {
            OptionalLong known = positionNow(partition);
            if (known.isPresent()) {
                return known.getAsLong();
            }
            if (System.nanoTime() - began >= timeout.toNanos()) {
                throw OttlaException.of(ErrorCode.TIMEOUT, "the position of `" + partition + "` was not found in the time given");
            }
            try {
                TimeUnit.NANOSECONDS.sleep(POSITION_NANOS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new InterruptException("the thread was interrupted while it waited for a position", e);
            }
        }
    }

    /**
     * Offset of the next record to be given.
     *
     * @param partition one that is assigned
     * @return the offset; nothing as long as it is being looked for
     */
    public OptionalLong positionNow(TopicPartition partition) {
        long position = ask(Native.consumerPosition(number, new Out().partition(partition).bytes())).i64();
        return position < 0 ? OptionalLong.empty() : OptionalLong.of(position);
    }

    // ---- records

    /**
     * The next records: of one partition, at most {@code max.poll.records}.
     *
     * @param timeout how long to wait for them at most
     * @return the records; none if none came
     * @throws WakeupException if {@link #wakeup()} was called
     * @throws InterruptException if the thread is interrupted
     */
    public ConsumerRecords<K, V> poll(Duration timeout) {
        long began = System.nanoTime();
        long patience = nanos(timeout);
        polling.lock();
        try {
            boolean isAwaited = false;
            while (true) {
                core.tellRebalances();
                if (core.isWoken.getAndSet(false)) {
                    throw new WakeupException();
                }
                ConsumerRecords<K, V> next = take();
                if (next != null) {
                    return next;
                }
                if (core.isClosed.get()) {
                    throw OttlaException.of(ErrorCode.CLOSED, "the consumer is closed");
                }
                long left = patience - (System.nanoTime() - began);
                if (left <= 0) {
                    return ConsumerRecords.none();
                }
                if (!isAwaited) {
                    // What came before this is looked for once more.
                    Native.consumerAwait(number);
                    isAwaited = true;
                    continue;
                }
                core.await(Math.min(left, LOOK_NANOS));
                isAwaited = false;
            }
        } finally {
            polling.unlock();
            Reference.reachabilityFence(this);
        }
    }

    /** What needs no waiting; null for nothing. With the lock held. */
    private ConsumerRecords<K, V> take() {
        ConsumerRecords<K, V> left = leftOver;
        leftOver = null;
        if (left != null && isNext(left)) {
            // They count as all others that were given.
            ask(Native.consumerKeepBack(number, left.nextOffset()));
            return left;
        }
        byte[] next = Native.consumerTryNext(number, maxPollRecords);
        return next == null ? null : new ConsumerRecords<>(new RecordBatch(next), 0, deserializers);
    }

    /** Whether nobody has gone elsewhere since. */
    private boolean isNext(ConsumerRecords<K, V> left) {
        try {
            return positionNow(left.partition()).orElse(-1) == left.nextOffset();
        } catch (OttlaException notAssigned) {
            return false;
        }
    }

    /**
     * The next records, as {@link #poll} gives them, without a thread that waits. One at a time. Listeners are told on a thread of
     * {@link java.util.concurrent.ForkJoinPool#commonPool()}, where the future ends, too.
     *
     * @param timeout how long to wait for them at most
     * @return the records; none if none came
     */
    public CompletableFuture<ConsumerRecords<K, V>> pollAsync(Duration timeout) {
        PollInBackground poll = new PollInBackground(nanos(timeout));
        ForkJoinPool.commonPool().execute(poll::look);
        return poll.future;
    }

    private final class PollInBackground {
        final CompletableFuture<ConsumerRecords<K, V>> future = new CompletableFuture<>();
        private final long began = System.nanoTime();
        private final long patience;

        PollInBackground(long patience) {
            this.patience = patience;
        }

        void look() {
            if (future.isDone()) {
                return;
            }
            try {
                ConsumerRecords<K, V> now = poll(Duration.ZERO);
                long left = patience - (System.nanoTime() - began);
                if (!now.isEmpty() || left <= 0) {
                    end(now);
                    return;
                }
                Runnable again = () -> ForkJoinPool.commonPool().execute(this::look);
                core.whenRung.set(again);
                Native.consumerAwait(number);
                // What came before it was asked for rings nobody: so it is looked for once more, and now and then.
                now = poll(Duration.ZERO);
                if (!now.isEmpty()) {
                    core.whenRung.compareAndSet(again, null);
                    end(now);
                    return;
                }
                CompletableFuture.delayedExecutor(Math.min(left, LOOK_NANOS), TimeUnit.NANOSECONDS).execute(() -> {
                    if (core.whenRung.compareAndSet(again, null)) {
                        look();
                    }
                });
            } catch (RuntimeException e) {
                future.completeExceptionally(e);
            }
        }

        private void end(ConsumerRecords<K, V> records) {
            if (!future.complete(records)) {
                giveBack(records);
            }
        }
    }

    /**
     * The program does not want these, the last that it was given, after all: they do not count as done, and the next poll gives them.
     *
     * @param records the records, as far as they are left
     */
    public void giveBack(ConsumerRecords<K, V> records) {
        if (records.isEmpty()) {
            return;
        }
        polling.lock();
        try {
            if (!core.isClosed.get()) {
                ask(Native.consumerKeepBack(number, records.firstOffset()));
                leftOver = records;
            }
        } finally {
            polling.unlock();
        }
    }

    /**
     * The records, as somebody asks for them; for one subscriber at a time. What a subscription that is cancelled has not given, the next
     * poll gives. It ends when the consumer is closed.
     *
     * @return a publisher, which calls on threads of {@link java.util.concurrent.ForkJoinPool#commonPool()}
     */
    public Flow.Publisher<ConsumerRecord<K, V>> records() {
        return subscriber -> new RecordSubscription<>(this, subscriber).begin();
    }

    /** Ends {@link #poll}, now or the next, with a {@link WakeupException}; from any thread. */
    public void wakeup() {
        core.isWoken.set(true);
        core.ring();
    }

    // ---- commits

    /** Commits all that was given, and waits until the group has it. */
    public void commitSync() {
        commitSync(Duration.ofNanos(apiTimeoutNanos));
    }

    /**
     * Commits all that was given, and waits until the group has it.
     *
     * @param timeout how long at most
     */
    public void commitSync(Duration timeout) {
        Completions.SHARED.await(commitAsync(), nanos(timeout));
    }

    /**
     * Commits these offsets, and waits until the group has them.
     *
     * @param offsets of each partition that of the next record to be read
     */
    public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets) {
        Completions.SHARED.await(commitAsync(offsets), apiTimeoutNanos);
    }

    /**
     * Commits all that was given.
     *
     * @return done when the group has it
     */
    public CompletableFuture<Void> commitAsync() {
        return start(Native::consumerCommit, new Out().bool(true), in -> null);
    }

    /**
     * Commits these offsets.
     *
     * @param offsets of each partition that of the next record to be read
     * @return done when the group has them
     */
    public CompletableFuture<Void> commitAsync(Map<TopicPartition, OffsetAndMetadata> offsets) {
        Out request = new Out().bool(false).map(offsets, Out::partition, Out::offset);
        return start(Native::consumerCommit, request, in -> null);
    }

    /**
     * What the group has committed.
     *
     * @param partitions of which
     * @return by partition; those of which nothing is are left out
     */
    public Map<TopicPartition, OffsetAndMetadata> committed(Set<TopicPartition> partitions) {
        return await(start(Native::consumerCommitted, new Out().partitions(partitions), in -> in.map(In::partition, In::offset)));
    }

    // ---- questions

    /**
     * The first offsets that are still there.
     *
     * @param partitions of which
     * @return by partition
     */
    public Map<TopicPartition, Long> beginningOffsets(Collection<TopicPartition> partitions) {
        return offsets(false, partitions);
    }

    /**
     * The offsets behind the last records.
     *
     * @param partitions of which
     * @return by partition
     */
    public Map<TopicPartition, Long> endOffsets(Collection<TopicPartition> partitions) {
        return offsets(true, partitions);
    }

    private Map<TopicPartition, Long> offsets(boolean atEnd, Collection<TopicPartition> partitions) {
        Out request = new Out().bool(atEnd).partitions(partitions);
        return await(start(Native::consumerOffsets, request, in -> in.map(In::partition, In::i64)));
    }

    /**
     * The first records of these times, or later ones.
     *
     * @param times milliseconds since the epoch, by partition
     * @return by partition; null where there is none
     */
    public Map<TopicPartition, OffsetAndTimestamp> offsetsForTimes(Map<TopicPartition, Long> times) {
        Out request = new Out().map(times, Out::partition, Out::i64);
        Map<TopicPartition, OffsetAndTimestamp> found =
                await(start(Native::consumerOffsetsForTimes, request, in -> in.map(In::partition, OttlaConsumer::listed)));
        Map<TopicPartition, OffsetAndTimestamp> all = new LinkedHashMap<>();
        times.keySet().forEach(partition -> all.put(partition, found.get(partition)));
        return all;
    }

    static OffsetAndTimestamp listed(In in) {
        long offset = in.i64();
        OffsetAndTimestamp found = new OffsetAndTimestamp(offset, in.i64(), in.epoch());
        return offset < 0 ? null : found;
    }

    /**
     * How many records the broker has behind the position, as of the last fetch.
     *
     * @param partition one that is assigned
     * @return their number; nothing before the first fetch
     */
    public OptionalLong currentLag(TopicPartition partition) {
        byte[] watermarks = Native.consumerWatermarks(number, new Out().partition(partition).bytes());
        OptionalLong position = positionNow(partition);
        if (watermarks == null || position.isEmpty()) {
            return OptionalLong.empty();
        }
        In in = In.answer(watermarks);
        in.i64();
        return OptionalLong.of(Math.max(0, in.i64() - position.getAsLong()));
    }

    /**
     * What it has counted.
     *
     * @return values by name, as the guide lists them; not a number where there is none yet
     */
    public Map<String, Double> metrics() {
        return ask(Native.consumerMetrics(number)).metrics();
    }

    // ---- the end

    /** Leaves the group, with what the program is done with committed, and ends. Closing again does nothing. */
    @Override
    public void close() {
        close(CLOSE_TIMEOUT);
    }

    /**
     * Leaves the group, with what the program is done with committed, and ends.
     *
     * @param timeout how long that may take
     */
    public void close(Duration timeout) {
        if (!core.isClosed.compareAndSet(false, true)) {
            return;
        }
        forgotten.cancel();
        core.ring();
        long ms = Math.max(0, timeout.toMillis());
        try {
            // Native takes care of the time; rebalances are told on this thread meanwhile.
            awaitTelling(this.<Void>start(Native::consumerClose, new Out().i64(ms), in -> null), Long.MAX_VALUE);
        } finally {
            core.free();
            deserializers.key().close();
            deserializers.value().close();
        }
    }

    // ---- helpers

    private interface Call {
        void start(long consumer, byte[] request, long queue, long token);
    }

    private <T> CompletableFuture<T> start(Call call, Out request, java.util.function.Function<In, T> read) {
        byte[] bytes = request == null ? null : request.bytes();
        return Completions.SHARED.start((queue, token) -> call.start(number, bytes, queue, token), read);
    }

    private <T> T await(CompletableFuture<T> future) {
        return Completions.SHARED.await(future, apiTimeoutNanos);
    }

    /** Waits for something during which the listener may have to be told. */
    private void awaitTelling(CompletableFuture<Void> future, long timeoutNanos) {
        if (core.listener != null) {
            future.whenComplete((ok, failure) -> core.ring());
            long began = System.nanoTime();
            while (!future.isDone() && System.nanoTime() - began < timeoutNanos) {
                core.tellRebalances();
                core.await(LOOK_NANOS);
            }
        }
        Completions.SHARED.await(future, timeoutNanos);
    }

    private static In ask(byte[] answer) {
        return In.answer(answer);
    }

    /** A time that may be longer than nanoseconds count. */
    private static long nanos(Duration duration) {
        return duration.compareTo(Duration.ofDays(365)) > 0 ? Long.MAX_VALUE : duration.toNanos();
    }

    /**
     * Makes a consumer step by step.
     *
     * @param <K> what keys are
     * @param <V> what values are
     */
    public static final class Builder<K, V> {
        private final Map<String, Object> configs = new LinkedHashMap<>();
        private final List<String> topics = new ArrayList<>();
        private Deserializer<K> keys;
        private Deserializer<V> values;
        private RebalanceListener listener;

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
         * The group that shares the partitions.
         *
         * @param group its name
         * @return this
         */
        public Builder<K, V> groupId(String group) {
            return config("group.id", group);
        }

        /**
         * What to subscribe to.
         *
         * @param names the topics
         * @return this
         */
        public Builder<K, V> topics(String... names) {
            topics.addAll(Arrays.asList(names));
            return this;
        }

        /**
         * Where to begin without a position.
         *
         * @param where {@code earliest}, {@code latest} or {@code none}
         * @return this
         */
        public Builder<K, V> startFrom(String where) {
            return config("auto.offset.reset", where);
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
         * What makes keys of bytes.
         *
         * @param deserializer the deserializer
         * @return this
         */
        public Builder<K, V> keyDeserializer(Deserializer<K> deserializer) {
            keys = deserializer;
            return this;
        }

        /**
         * What makes values of bytes.
         *
         * @param deserializer the deserializer
         * @return this
         */
        public Builder<K, V> valueDeserializer(Deserializer<V> deserializer) {
            values = deserializer;
            return this;
        }

        /**
         * Who is told what comes and goes.
         *
         * @param told the listener
         * @return this
         */
        public Builder<K, V> onRebalance(RebalanceListener told) {
            listener = told;
            return this;
        }

        /**
         * The consumer.
         *
         * @return a new one
         */
        public OttlaConsumer<K, V> build() {
            OttlaConsumer<K, V> consumer = new OttlaConsumer<>(configs, keys, values);
            if (!topics.isEmpty()) {
                try {
                    consumer.subscribe(topics, listener);
                } catch (RuntimeException failure) {
                    consumer.close(Duration.ZERO);
                    throw failure;
                }
            }
            return consumer;
        }
    }
}
