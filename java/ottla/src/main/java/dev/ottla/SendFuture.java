package dev.ottla;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What becomes of a record. A thread that waits for it has it handed over at once, and not when its slab is full. */
class SendFuture extends CompletableFuture<RecordMetadata> {
    private final Accumulator accumulator;

    SendFuture(Accumulator accumulator) {
        this.accumulator = accumulator;
    }

    /** Called by whoever learns of it. */
    void end(RecordMetadata metadata, OttlaException failure) {
        if (failure == null) {
            complete(metadata);
        } else {
            completeExceptionally(failure);
        }
    }

    @Override
    public RecordMetadata get() throws InterruptedException, ExecutionException {
        handOver();
        return super.get();
    }

    @Override
    public RecordMetadata get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
        handOver();
        return super.get(timeout, unit);
    }

    @Override
    public RecordMetadata join() {
        handOver();
        return super.join();
    }

    /** What is derived of it is a future like any other. */
    @Override
    public <U> CompletableFuture<U> newIncompleteFuture() {
        return new CompletableFuture<>();
    }

    private void handOver() {
        if (!isDone()) {
            accumulator.handOverNow();
        }
    }

    /** With a callback, which is called first. */
    static final class Told extends SendFuture {
        private final Callback callback;

        Told(Accumulator accumulator, Callback callback) {
            super(accumulator);
            this.callback = callback;
        }

        @Override
        void end(RecordMetadata metadata, OttlaException failure) {
            try {
                callback.onCompletion(metadata, failure);
            } catch (RuntimeException e) {
                Accumulator.LOG.error("a callback of a delivery has failed", e);
            }
            super.end(metadata, failure);
        }
    }
}
