package dev.ottla;

import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/** A step of a rebalance. The group waits until it is let go. */
final class Rebalance {
    /** In the order of the native half's numbers. */
    enum Kind {
        ASSIGNED,
        REVOKED,
        LOST
    }

    private final long number;
    private final Kind kind;
    private final List<TopicPartition> partitions;
    private final AtomicBoolean isDone = new AtomicBoolean();

    Rebalance(long number, Kind kind, List<TopicPartition> partitions) {
        this.number = number;
        this.kind = kind;
        this.partitions = partitions;
    }

    /** Tells a listener. */
    void tell(RebalanceListener listener) {
        switch (kind) {
            case ASSIGNED -> listener.onPartitionsAssigned(partitions);
            case REVOKED -> listener.onPartitionsRevoked(partitions);
            case LOST -> listener.onPartitionsLost(partitions);
        }
    }

    /** Lets the group go on. */
    void done() {
        if (isDone.compareAndSet(false, true)) {
            Native.rebalanceDone(number);
        }
    }
}
