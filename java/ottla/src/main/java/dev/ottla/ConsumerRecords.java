package dev.ottla;

import java.util.AbstractList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.RandomAccess;
import java.util.Set;

/**
 * What {@link OttlaConsumer#poll} gives: records of one partition that follow each other, or none. The next call gives those of another
 * partition, in turn.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public final class ConsumerRecords<K, V> implements Iterable<ConsumerRecord<K, V>> {
    private final RecordBatch batch;
    /** Those of the batch before this are not among them. */
    private final int start;
    private final ConsumerRecord.Deserializers<K, V> of;

    ConsumerRecords(RecordBatch batch, int start, ConsumerRecord.Deserializers<K, V> of) {
        this.batch = batch;
        this.start = start;
        this.of = of;
    }

    static <K, V> ConsumerRecords<K, V> none() {
        return new ConsumerRecords<>(null, 0, null);
    }

    /**
     * All but the first ones.
     *
     * @param count how many to leave out
     * @return the others; none if there are no more
     */
    public ConsumerRecords<K, V> skip(int count) {
        if (count < 0) {
            throw new IllegalArgumentException("0 records or more can be left out, not `" + count + "`");
        }
        return count >= count() ? none() : new ConsumerRecords<>(batch, start + count, of);
    }

    /** The offset of the first. */
    long firstOffset() {
        return batch.offset(start);
    }

    TopicPartition partition() {
        return batch.partition;
    }

    long nextOffset() {
        return batch.nextOffset;
    }

    /**
     * How many there are.
     *
     * @return their number
     */
    public int count() {
        return batch == null ? 0 : batch.count - start;
    }

    /**
     * Whether there are none.
     *
     * @return whether it is so
     */
    public boolean isEmpty() {
        return batch == null;
    }

    /**
     * The partitions that they are of.
     *
     * @return one, or none
     */
    public Set<TopicPartition> partitions() {
        return batch == null ? Set.of() : Set.of(batch.partition);
    }

    /**
     * Those of a partition.
     *
     * @param partition the partition
     * @return its records; none if they are of another
     */
    public List<ConsumerRecord<K, V>> records(TopicPartition partition) {
        return batch == null || !batch.partition.equals(partition) ? List.of() : asList();
    }

    /**
     * All of them, in their order. A record is made when it is got.
     *
     * @return a list that cannot be changed
     */
    public List<ConsumerRecord<K, V>> asList() {
        return batch == null ? List.of() : new Records<>(batch, start, of);
    }

    /**
     * What to commit when all of them are done with.
     *
     * @return the offset behind the last, by partition
     */
    public Map<TopicPartition, OffsetAndMetadata> nextOffsets() {
        return batch == null ? Map.of() : Map.of(batch.partition, new OffsetAndMetadata(batch.nextOffset));
    }

    @Override
    public Iterator<ConsumerRecord<K, V>> iterator() {
        return new Iterator<>() {
            private int next = start;

            @Override
            public boolean hasNext() {
                return batch != null && next < batch.count;
            }

            @Override
            public ConsumerRecord<K, V> next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                return new ConsumerRecord<>(batch, next++, of);
            }
        };
    }

    private static final class Records<K, V> extends AbstractList<ConsumerRecord<K, V>> implements RandomAccess {
        private final RecordBatch batch;
        private final int start;
        private final ConsumerRecord.Deserializers<K, V> of;

        Records(RecordBatch batch, int start, ConsumerRecord.Deserializers<K, V> of) {
            this.batch = batch;
            this.start = start;
            this.of = of;
        }

        @Override
        public ConsumerRecord<K, V> get(int index) {
            return new ConsumerRecord<>(batch, start + java.util.Objects.checkIndex(index, size()), of);
        }

        @Override
        public int size() {
            return batch.count - start;
        }
    }
}
