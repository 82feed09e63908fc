package dev.ottla;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/** Reads what the native half has written: numbers, text, lists, as {@code bindings/java/src/wire.rs} has them. */
final class In {
    private final ByteBuffer bytes;

    In(byte[] bytes) {
        this(ByteBuffer.wrap(bytes));
    }

    private In(ByteBuffer bytes) {
        this.bytes = bytes;
    }

    /** The answer to a question: nothing, a value, or an error, which is thrown. */
    static In answer(byte[] answer) {
        In in = new In(answer == null ? new byte[] {0} : answer);
        in.orThrow();
        return in;
    }

    /** Throws the error that is next, if it is one. */
    void orThrow() {
        OttlaException failure = failure();
        if (failure != null) {
            throw failure;
        }
    }

    /** The error that is next; null if it is a value. */
    OttlaException failure() {
        return u8() == 0 ? null : error();
    }

    OttlaException error() {
        int code = i32();
        String name = text();
        int flags = i32();
        return OttlaException.of(code, name, flags, text(), text());
    }

    boolean hasMore() {
        return bytes.hasRemaining();
    }

    int position() {
        return bytes.position();
    }

    int u8() {
        return bytes.get();
    }

    boolean bool() {
        return bytes.get() != 0;
    }

    int i32() {
        return bytes.getInt();
    }

    long i64() {
        return bytes.getLong();
    }

    double f64() {
        return bytes.getDouble();
    }

    /** Text; null for none. */
    String text() {
        int length = bytes.getInt();
        if (length < 0) {
            return null;
        }
        String text = new String(bytes.array(), bytes.arrayOffset() + bytes.position(), length, StandardCharsets.UTF_8);
        bytes.position(bytes.position() + length);
        return text;
    }

    /** Bytes behind their number, as one to read from. */
    In blob() {
        int length = bytes.getInt();
        In blob = new In(bytes.slice(bytes.position(), length));
        bytes.position(bytes.position() + length);
        return blob;
    }

    <T> List<T> list(Function<In, T> element) {
        int count = bytes.getInt();
        List<T> list = new ArrayList<>(Math.min(count, bytes.remaining()));
        for (int i = 0; i < count; i++) {
            list.add(element.apply(this));
        }
        return list;
    }

    <K, V> Map<K, V> map(Function<In, K> key, Function<In, V> value) {
        int count = bytes.getInt();
        Map<K, V> map = new LinkedHashMap<>();
        for (int i = 0; i < count; i++) {
            K of = key.apply(this);
            map.put(of, value.apply(this));
        }
        return map;
    }

    TopicPartition partition() {
        String topic = text();
        return new TopicPartition(topic, i32());
    }

    List<TopicPartition> partitions() {
        return list(In::partition);
    }

    OffsetAndMetadata offset() {
        long offset = i64();
        Optional<Integer> epoch = epoch();
        return new OffsetAndMetadata(offset, epoch, text());
    }

    /** An epoch of a leader; none below zero. */
    Optional<Integer> epoch() {
        int epoch = i32();
        return epoch < 0 ? Optional.empty() : Optional.of(epoch);
    }

    Map<String, Double> metrics() {
        return map(In::text, In::f64);
    }
}
