package dev.ottla;

import java.nio.ByteBuffer;

/**
 * The native half, {@code bindings/java} in the sources. Clients are numbers there; what has the letters {@code byte[]} is as {@link In}
 * and {@link Out} have it. No call waits, but {@link #queueTake}.
 */
final class Native {
    static {
        NativeLibrary.load();
        String version = In.answer(version()).text();
        if (!version.equals(Release.VERSION)) {
            throw new UnsatisfiedLinkError("the native library is of release " + version + ", and the jar of " + Release.VERSION
                    + ": bring both to the same");
        }
    }

    private Native() {}

    static native byte[] version();

    static native byte[] isKnownKey(byte[] key);

    static native long queueNew();

    static native byte[] queueTake(long queue, long timeoutNanos);

    static native void queueNudge(long queue);

    static native void queueLog(long queue, int level);

    static native byte[] producerNew(long queue, byte[] config);

    static native byte[] producerIntern(long producer, byte[] topic);

    static native long producerSendPacked(
            long producer,
            ByteBuffer data,
            int dataFrom,
            int dataTo,
            ByteBuffer table,
            int from,
            int to,
            long firstToken,
            byte[][] said);

    static native void producerReady(long producer, byte[] request, long queue, long token);

    static native void producerFlush(long producer, byte[] request, long queue, long token);

    static native void producerClose(long producer, byte[] request, long queue, long token);

    static native void producerPartitionCount(long producer, byte[] request, long queue, long token);

    static native byte[] producerMetrics(long producer);

    static native void producerFree(long producer);

    static native byte[] consumerNew(long queue, byte[] config);

    static native byte[] consumerListen(long consumer, long queue);

    static native void rebalanceDone(long rebalance);

    static native byte[] consumerTryNext(long consumer, int max);

    static native byte[] consumerKeepBack(long consumer, long offset);

    static native void consumerAwait(long consumer);

    static native byte[] consumerAssign(long consumer, byte[] partitions);

    static native byte[] consumerAssignment(long consumer);

    static native byte[] consumerSubscribe(long consumer, byte[] topics);

    static native byte[] consumerSubscribePattern(long consumer, byte[] request);

    static native void consumerUnsubscribe(long consumer, byte[] request, long queue, long token);

    static native byte[] consumerSeek(long consumer, byte[] request);

    static native byte[] consumerSeekTo(long consumer, byte[] request);

    static native byte[] consumerPause(long consumer, byte[] partitions);

    static native byte[] consumerResume(long consumer, byte[] partitions);

    static native byte[] consumerPaused(long consumer);

    static native byte[] consumerPosition(long consumer, byte[] partition);

    static native byte[] consumerWatermarks(long consumer, byte[] partition);

    static native void consumerCommit(long consumer, byte[] request, long queue, long token);

    static native void consumerCommitted(long consumer, byte[] partitions, long queue, long token);

    static native void consumerOffsets(long consumer, byte[] request, long queue, long token);

    static native void consumerOffsetsForTimes(long consumer, byte[] request, long queue, long token);

    static native byte[] consumerMetrics(long consumer);

    static native void consumerClose(long consumer, byte[] request, long queue, long token);

    static native void consumerFree(long consumer);

    static native byte[] tokenGive(long request, byte[] token);

    static native byte[] tokenFail(long request, byte[] why);

    static native byte[] adminNew(byte[] config);

    static native void adminCall(long admin, byte[] request, long queue, long token);

    static native void adminFree(long admin);
}
