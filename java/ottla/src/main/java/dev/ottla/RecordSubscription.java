package dev.ottla;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Gives a subscriber as many records as it has asked for. All that happens to it goes through {@link #go}, of which one runs at a time: who
 * comes while it runs has it go round once more.
 */
final class RecordSubscription<K, V> implements Flow.Subscription {
    /** How long one look for records goes on; then there is another. */
    private static final Duration PATIENCE = Duration.ofMinutes(1);

    private final OttlaConsumer<K, V> consumer;
    private final Flow.Subscriber<? super ConsumerRecord<K, V>> subscriber;
    private final AtomicLong wanted = new AtomicLong();
    private final AtomicInteger rounds = new AtomicInteger();
    private volatile boolean isCancelled;
    /** The thread that is in {@link #round}. */
    private volatile Thread running;
    private volatile Throwable refusal;
    private ConsumerRecords<K, V> records = ConsumerRecords.none();
    private int next;
    private CompletableFuture<ConsumerRecords<K, V>> polling;
    private boolean isOver;

    RecordSubscription(OttlaConsumer<K, V> consumer, Flow.Subscriber<? super ConsumerRecord<K, V>> subscriber) {
        this.consumer = consumer;
        this.subscriber = subscriber;
    }

    void begin() {
        subscriber.onSubscribe(this);
    }

    @Override
    public void request(long count) {
        if (count <= 0) {
            refusal = new IllegalArgumentException("a subscriber asks for 1 record or more, not for `" + count + "`");
        } else {
            wanted.accumulateAndGet(count, (before, more) -> before + more < 0 ? Long.MAX_VALUE : before + more);
        }
        go();
    }

    @Override
    public void cancel() {
        isCancelled = true;
        if (Thread.currentThread() == running) {
            // By the subscriber itself, which may rely on it at once: the rest is given back when this returns.
            round();
        } else {
            go();
        }
    }

    private void go() {
        if (rounds.getAndIncrement() != 0) {
            return;
        }
        int seen = 1;
        do {
            running = Thread.currentThread();
            round();
            running = null;
            seen = rounds.addAndGet(-seen);
        } while (seen != 0);
    }

    private void round() {
        if (isOver) {
            return;
        }
        if (refusal != null) {
            leave();
            subscriber.onError(refusal);
            return;
        }
        while (wanted.get() > 0 && !isCancelled && !isOver) {
            if (next < records.count()) {
                if (wanted.get() != Long.MAX_VALUE) {
                    wanted.decrementAndGet();
                }
                subscriber.onNext(records.asList().get(next++));
                continue;
            }
            if (polling == null) {
                polling = consumer.pollAsync(PATIENCE);
                polling.whenComplete((more, failure) -> go());
                return;
            }
            if (!polling.isDone() || !took()) {
                return;
            }
        }
        if (isCancelled && !isOver) {
            leave();
        }
    }

    /** Takes what the poll has given; false if it is over. */
    private boolean took() {
        try {
            records = polling.join();
            next = 0;
            polling = null;
            return true;
        } catch (CompletionException e) {
            isOver = true;
            if (e.getCause() instanceof OttlaException failure && failure.error() == ErrorCode.CLOSED) {
                subscriber.onComplete();
            } else {
                subscriber.onError(e.getCause());
            }
            return false;
        }
    }

    private void leave() {
        isOver = true;
        if (polling != null && !polling.cancel(false) && !polling.isCompletedExceptionally()) {
            records = polling.join();
            next = 0;
        }
        consumer.giveBack(records.skip(next));
    }
}
