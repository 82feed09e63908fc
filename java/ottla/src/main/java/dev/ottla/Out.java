package dev.ottla;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collection;
import java.util.Map;
import java.util.function.BiConsumer;

/** Writes what the native half is to read. */
final class Out {
    private ByteBuffer bytes = ByteBuffer.allocate(128);

    byte[] bytes() {
        return Arrays.copyOf(bytes.array(), bytes.position());
    }

    Out bool(boolean value) {
        room(1).put((byte) (value ? 1 : 0));
        return this;
    }

    Out i16(int value) {
        room(2).putShort((short) value);
        return this;
    }

    Out i32(int value) {
        room(4).putInt(value);
        return this;
    }

    Out i64(long value) {
        room(8).putLong(value);
        return this;
    }

    /** Text; null for none. */
    Out text(String text) {
        if (text == null) {
            return i32(-1);
        }
        byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
        i32(encoded.length).room(encoded.length).put(encoded);
        return this;
    }

    <T> Out list(Collection<? extends T> list, BiConsumer<Out, T> element) {
        // Not by its size, which another thread may change.
        Object[] elements = list.toArray();
        i32(elements.length);
        for (Object each : elements) {
            @SuppressWarnings("unchecked")
            T of = (T) each;
            element.accept(this, of);
        }
        return this;
    }

    <K, V> Out map(Map<K, V> map, BiConsumer<Out, K> key, BiConsumer<Out, V> value) {
        return list(map.entrySet(), (Out out, Map.Entry<K, V> entry) -> {
            key.accept(out, entry.getKey());
            value.accept(out, entry.getValue());
        });
    }

    Out texts(Collection<String> texts) {
        return list(texts, Out::text);
    }

    Out partition(TopicPartition partition) {
        return text(partition.topic()).i32(partition.partition());
    }

    Out partitions(Collection<TopicPartition> partitions) {
        return list(partitions, Out::partition);
    }

    Out offset(OffsetAndMetadata offset) {
        return i64(offset.offset()).i32(offset.leaderEpoch().orElse(-1)).text(offset.metadata());
    }

    private ByteBuffer room(int count) {
        if (bytes.remaining() < count) {
            int size = Math.max(bytes.capacity() * 2, bytes.position() + count);
            bytes = ByteBuffer.allocate(size).put(bytes.flip());
        }
        return bytes;
    }
}
