package dev.ottla;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Gathers records in a slab and hands it over to the native producer: when it is full, when it is {@link #delayNanos} old, and at once
 * where somebody waits. One call for many records costs as much as one for a single record.
 *
 * <p>The slab is a buffer with the records' bytes and a table with 32 bytes for each, as the module {@code packed} of the native half
 * describes them. Records are in the order of the calls of {@link #append}, whatever threads they are from: there is one slab, and one
 * lock, which nobody holds while he waits.
 *
 * <p>Where there is no room, the slab stays, and whoever needs another waits for {@link #room}; the call that waits for it in the
 * native half ends on the thread of {@link Completions}, which hands on what is left. That thread itself never waits: what a
 * callback sends is put off until there is room.
 */
final class Accumulator implements Completions.Client, Completions.Due {
    static final Logger LOG = LoggerFactory.getLogger("dev.ottla.producer");

    /** Room for records' bytes; a larger record has a slab of its own. */
    private static final int SLAB_BYTES = 128 * 1024;
    /** Records of a slab, at most; a power of two. */
    private static final int SLAB_RECORDS_MAX = 1024;
    /** Bytes of the table for a record. */
    private static final int ENTRY_BYTES = 32;
    /** How long a record waits for others at most, if nobody waits for it. */
    private static final long DELAY_NANOS_MAX = TimeUnit.MICROSECONDS.toNanos(500);
    /** How often a slab for which there is no room is looked at. */
    private static final long BLOCKED_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    private final long producer;
    private final long delayNanos;
    private final long maxBlockNanos;
    private final Map<String, Topic> topics = new ConcurrentHashMap<>();
    private volatile Topic lastTopic;
    /** Those who wait, by the number of their slab. */
    private final Map<Long, Waiters> waiting = new ConcurrentHashMap<>();

    private final ReentrantLock lock = new ReentrantLock();
    /** The slab is empty again, or the producer is closed. */
    private final Condition room = lock.newCondition();
    private final ByteBuffer usual = ByteBuffer.allocateDirect(SLAB_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    private final ByteBuffer table =
            ByteBuffer.allocateDirect(SLAB_RECORDS_MAX * ENTRY_BYTES).order(ByteOrder.nativeOrder());
    private final byte[][] said = new byte[1][];
    private ByteBuffer data = usual;
    /** The records `from` to `to` of the slab are still to be handed over; those before are. */
    private int from;
    private int to;
    private int dataFrom;
    private long filledAtNanos;
    /** Those of the slab who wait; null if none does. */
    private Waiters waiters;
    private long lastSlab;
    /** There is no room, and the native half tells when there is. */
    private boolean isBlocked;
    private boolean isArmed;
    private boolean isClosed;
    /** What is told once the lock is let go. */
    private List<Runnable> afterwards = new ArrayList<>();
    private final List<CompletableFuture<Void>> whenEmpty = new ArrayList<>();
    /** What callbacks have sent where there was no room. */
    private final ArrayDeque<Runnable> putOff = new ArrayDeque<>();

    private static final class Topic {
        final String name;
        final int number;
        /** Its partitions are known to the native half: a send need not wait for them. */
        volatile boolean isKnown;

        Topic(String name, int number) {
            this.name = name;
            this.number = number;
        }
    }

    /** Those who wait for records of a slab. */
    private static final class Waiters {
        final long slab;
        final AtomicReferenceArray<SendFuture> futures = new AtomicReferenceArray<>(SLAB_RECORDS_MAX);
        /** How many there are, and one more as long as the slab is open. */
        final AtomicInteger left = new AtomicInteger(1);

        Waiters(long slab) {
            this.slab = slab;
        }
    }

    Accumulator(long producer, long lingerMs, long maxBlockMs) {
        this.producer = producer;
        this.delayNanos = lingerMs <= 0 ? 0 : Math.min(TimeUnit.MILLISECONDS.toNanos(lingerMs), DELAY_NANOS_MAX);
        this.maxBlockNanos = maxBlockMs > Long.MAX_VALUE / 1_000_000 ? Long.MAX_VALUE : maxBlockMs * 1_000_000;
    }

    /**
     * Takes a record, and copies it. Waits, as long as {@code max.block.ms}, where its topic is not known yet or there is no room;
     * a failure is then the future's, or without one is thrown.
     */
    void append(String topicName, int partition, long timestamp, byte[] key, byte[] value, byte[] headers, int headerCount, SendFuture future) {
        Topic topic = topic(topicName);
        Runnable again = null;
        if (!topic.isKnown) {
            CompletableFuture<Void> known = ready(topic, 0);
            if (Completions.SHARED.isCurrent() && !known.isDone()) {
                known.whenComplete((ok, failure) -> orFail(future, () -> {
                    if (failure != null) {
                        throw asOurs(failure);
                    }
                    append(topicName, partition, timestamp, key, value, headers, headerCount, future);
                }));
                return;
            }
            Completions.SHARED.await(known, Long.MAX_VALUE);
        }
        if (Completions.SHARED.isCurrent()) {
            again = () -> orFail(
                    future, () -> append(topicName, partition, timestamp, key, value, headers, headerCount, future));
        }
        int bytes = length(key) + length(value) + length(headers);
        boolean arm = false;
        lock.lock();
        try {
            if (!makeRoom(bytes, again)) {
                return;
            }
            put(topic, partition, timestamp, key, value, headers, headerCount, future);
            if (delayNanos == 0) {
                handOver();
            } else if (!isArmed) {
                isArmed = true;
                arm = true;
            }
        } finally {
            unlock();
        }
        if (arm) {
            Completions.SHARED.add(this);
        }
    }

    /** Hands over what there is: somebody waits for it. */
    void handOverNow() {
        lock.lock();
        try {
            handOver();
        } finally {
            unlock();
        }
    }

    /** Done when all that was taken is acknowledged, or has failed. */
    CompletableFuture<Void> flush() {
        return empty().thenCompose(ok -> Completions.SHARED.start(
                (queue, token) -> Native.producerFlush(producer, null, queue, token), in -> null));
    }

    /** Takes no more records, and sends what was taken; what is not acknowledged in time fails. */
    CompletableFuture<Void> close(long timeoutMs) {
        lock.lock();
        try {
            isClosed = true;
            handOver();
            room.signalAll();
        } finally {
            unlock();
        }
        CompletableFuture<Void> emptied = empty().copy();
        emptied.completeOnTimeout(null, timeoutMs, TimeUnit.MILLISECONDS);
        return emptied
                .thenCompose(ok -> {
                    lock.lock();
                    try {
                        if (from < to) {
                            failRest(OttlaException.of(ErrorCode.TIMEOUT, "the producer was closed before there was room for the record"));
                        }
                    } finally {
                        unlock();
                    }
                    return Completions.SHARED.<Void>start(
                            (queue, token) ->
                                    Native.producerClose(producer, new Out().i64(timeoutMs).bytes(), queue, token),
                            in -> null);
                })
                .whenComplete((ok, failure) -> free());
    }

    /** Nobody has it any more: what was taken is sent in the background, as long as the program runs. */
    void abandon() {
        close(TimeUnit.MINUTES.toMillis(2));
    }

    private void free() {
        // After the deliveries that are still in the queue.
        Completions.SHARED.start((queue, token) -> Native.producerFlush(producer, null, queue, token), in -> null)
                .whenComplete((ok, failure) -> {
                    Completions.SHARED.remove(producer);
                    Native.producerFree(producer);
                });
    }

    @Override
    public long run(long nowNanos) {
        if (!lock.tryLock()) {
            return delayNanos;
        }
        try {
            if (from == to) {
                isArmed = false;
                return -1;
            }
            long age = nowNanos - filledAtNanos;
            if (age >= delayNanos) {
                handOver();
                return isBlocked ? BLOCKED_NANOS : delayNanos;
            }
            return delayNanos - age;
        } finally {
            unlock();
        }
    }

    @Override
    public void delivered(In in) {
        int batches = in.i32();
        for (int i = 0; i < batches; i++) {
            String topic = in.text();
            int partition = in.i32();
            OttlaException failure = in.failure();
            int count = in.i32();
            Waiters of = null;
            for (int n = 0; n < count; n++) {
                long token = in.i64();
                long offset = in.i64();
                long timestamp = in.i64();
                long slab = token / SLAB_RECORDS_MAX;
                if (of == null || of.slab != slab) {
                    of = waiting.get(slab);
                    if (of == null) {
                        continue;
                    }
                }
                SendFuture future = taken(of, (int) (token % SLAB_RECORDS_MAX));
                if (future != null) {
                    future.end(failure == null ? new RecordMetadata(topic, partition, offset, timestamp) : null, failure);
                }
            }
        }
    }

    // ---- with the lock held

    /** Makes sure that a record of so many bytes fits; false if that was put off. */
    private boolean makeRoom(int bytes, Runnable again) {
        long left = maxBlockNanos;
        while (true) {
            if (isClosed) {
                throw OttlaException.of(ErrorCode.CLOSED, "the producer is closed");
            }
            if (to < SLAB_RECORDS_MAX && data.remaining() >= bytes) {
                return true;
            }
            if (from == to && bytes > data.capacity()) {
                data = ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
                return true;
            }
            if (handOver()) {
                continue;
            }
            if (again != null) {
                putOff.add(again);
                return false;
            }
            if (!afterwards.isEmpty()) {
                // Nobody is to wait for what is to be told while this thread waits for room.
                unlock();
                lock.lock();
                continue;
            }
            if (left <= 0) {
                throw OttlaException.of(ErrorCode.QUEUE_FULL, "there was no room in `buffer.memory` within `max.block.ms`");
            }
            try {
                left = room.awaitNanos(left);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new InterruptException("the thread was interrupted while it waited for room", e);
            }
        }
    }

    private void put(Topic topic, int partition, long timestamp, byte[] key, byte[] value, byte[] headers, int headerCount, SendFuture future) {
        int at = to * ENTRY_BYTES;
        table.putInt(at, topic.number);
        table.putInt(at + 4, partition);
        table.putInt(at + 8, key == null ? -1 : key.length);
        table.putInt(at + 12, value == null ? -1 : value.length);
        table.putInt(at + 16, headerCount);
        table.putInt(at + 20, length(headers));
        table.putInt(at + 24, (int) timestamp);
        table.putInt(at + 28, (int) (timestamp >> 32));
        if (key != null) {
            data.put(key);
        }
        if (value != null) {
            data.put(value);
        }
        if (headers != null) {
            data.put(headers);
        }
        if (from == to) {
            filledAtNanos = System.nanoTime();
        }
        if (future != null) {
            if (waiters == null) {
                waiters = new Waiters(lastSlab++);
                waiting.put(waiters.slab, waiters);
            }
            waiters.left.incrementAndGet();
            waiters.futures.setRelease(to, future);
        }
        to++;
    }

    /** Hands over what there is, as far as there is room; whether the slab is empty then. */
    private boolean handOver() {
        if (from == to) {
            return true;
        }
        if (isBlocked) {
            return false;
        }
        long firstToken = waiters == null ? -1 : waiters.slab * SLAB_RECORDS_MAX + from;
        said[0] = null;
        long answer = Native.producerSendPacked(producer, data, dataFrom, data.position(), table, from, to, firstToken, said);
        if (answer < 0) {
            failRest(new In(said[0]).error());
            return true;
        }
        if (said[0] != null) {
            In rejected = new In(said[0]);
            for (int count = rejected.i32(); count > 0; count--) {
                fail(from + rejected.i32(), rejected.error());
            }
        }
        from += (int) (answer >>> 32);
        dataFrom += (int) answer;
        if (from == to) {
            reset();
            return true;
        }
        isBlocked = true;
        Topic next = byNumber(table.getInt(from * ENTRY_BYTES));
        int bytes = bytes(from);
        // If it is over already, what is left was handed over by now.
        ready(next, bytes).whenComplete((ok, failure) -> go(next, failure));
        return from == to;
    }

    /** The slab is empty. */
    private void reset() {
        from = 0;
        to = 0;
        dataFrom = 0;
        data = usual;
        data.clear();
        if (waiters != null) {
            leave(waiters);
            waiters = null;
        }
        room.signalAll();
        if (!whenEmpty.isEmpty()) {
            List<CompletableFuture<Void>> emptied = List.copyOf(whenEmpty);
            whenEmpty.clear();
            afterwards.add(() -> emptied.forEach(each -> each.complete(null)));
        }
        if (!putOff.isEmpty()) {
            List<Runnable> sends = List.copyOf(putOff);
            putOff.clear();
            afterwards.add(() -> sends.forEach(Accumulator::tried));
        }
    }

    private void failRest(OttlaException failure) {
        for (; from < to; from++) {
            fail(from, failure);
        }
        reset();
    }

    private void fail(int record, OttlaException failure) {
        SendFuture future = waiters == null ? null : taken(waiters, record);
        if (future != null) {
            afterwards.add(() -> future.end(null, failure));
        } else {
            LOG.warn("a record for `{}` was not sent: {}", byNumber(table.getInt(record * ENTRY_BYTES)).name, failure.getMessage());
        }
    }

    // ---- without the lock

    /** There is room, or no hope for it: then those at the head of the slab that wait for the same topic fail. */
    private void go(Topic topic, Throwable failure) {
        lock.lock();
        try {
            isBlocked = false;
            if (failure != null) {
                topic.isKnown = false;
                while (from < to && table.getInt(from * ENTRY_BYTES) == topic.number) {
                    dataFrom += bytes(from);
                    fail(from, asOurs(failure));
                    from++;
                }
                if (from == to) {
                    reset();
                }
            }
            handOver();
        } finally {
            unlock();
        }
    }

    /** Done when the slab is empty. */
    private CompletableFuture<Void> empty() {
        lock.lock();
        try {
            if (handOver()) {
                return CompletableFuture.completedFuture(null);
            }
            CompletableFuture<Void> emptied = new CompletableFuture<>();
            whenEmpty.add(emptied);
            return emptied;
        } finally {
            unlock();
        }
    }

    private void unlock() {
        List<Runnable> now = afterwards;
        if (lock.getHoldCount() > 1 || now.isEmpty()) {
            lock.unlock();
            return;
        }
        afterwards = new ArrayList<>();
        lock.unlock();
        now.forEach(Accumulator::tried);
    }

    /** Does what sends a record; the future is told of its failure. */
    private static void orFail(SendFuture future, Runnable send) {
        try {
            send.run();
        } catch (OttlaException failure) {
            if (future == null) {
                throw failure;
            }
            future.end(null, failure);
        }
    }

    private static void tried(Runnable something) {
        try {
            something.run();
        } catch (RuntimeException e) {
            LOG.error("a record that a callback sent, or its callback, has failed", e);
        }
    }

    private CompletableFuture<Void> ready(Topic topic, int bytes) {
        byte[] request = new Out().text(topic.name).i32(bytes).bytes();
        return Completions.SHARED.start(
                (queue, token) -> Native.producerReady(producer, request, queue, token),
                in -> {
                    topic.isKnown = true;
                    return null;
                });
    }

    private Topic topic(String name) {
        Topic last = lastTopic;
        if (last != null && last.name.equals(name)) {
            return last;
        }
        Topic topic = topics.get(name);
        if (topic == null) {
            topic = topics.computeIfAbsent(name, of -> {
                int number = In.answer(Native.producerIntern(producer, new Out().text(of).bytes())).i32();
                return new Topic(of, number);
            });
        }
        lastTopic = topic;
        return topic;
    }

    private Topic byNumber(int number) {
        return topics.values().stream().filter(topic -> topic.number == number).findFirst().orElseThrow();
    }

    private int bytes(int record) {
        int at = record * ENTRY_BYTES;
        return Math.max(0, table.getInt(at + 8)) + Math.max(0, table.getInt(at + 12)) + table.getInt(at + 20);
    }

    private SendFuture taken(Waiters of, int record) {
        SendFuture future = of.futures.getAndSet(record, null);
        if (future != null) {
            leave(of);
        }
        return future;
    }

    private void leave(Waiters of) {
        if (of.left.decrementAndGet() == 0) {
            waiting.remove(of.slab);
        }
    }

    private static OttlaException asOurs(Throwable failure) {
        Throwable cause = failure instanceof java.util.concurrent.CompletionException ? failure.getCause() : failure;
        return cause instanceof OttlaException ours
                ? ours
                : OttlaException.of(ErrorCode.PANIC, "a bug in ottla: " + cause, cause);
    }

    private static int length(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }
}
