package dev.ottla;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The bytes of records of one partition, in an array of this JVM: nothing to close, and nothing that can be gone. Behind a head lie 64
 * bytes for each record, as {@code RecordView} of the native half has them, and then the records' bytes.
 */
final class RecordBatch {
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.nativeOrder());
    private static final VarHandle INTS = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.nativeOrder());

    private static final int VIEW_BYTES = 64;
    private static final int OFFSET = 0;
    private static final int TIMESTAMP = 8;
    private static final int KEY_OFF = 16;
    private static final int VALUE_OFF = 20;
    private static final int HEADERS_OFF = 24;
    private static final int KEY_LEN = 28;
    private static final int VALUE_LEN = 32;
    private static final int HEADER_COUNT = 36;
    private static final int LEADER_EPOCH = 40;

    final TopicPartition partition;
    final long nextOffset;
    final long highWatermark;
    final int count;
    private final byte[] bytes;
    private final int views;
    /** What is added to an offset of a view for a place in the array. */
    private final int data;

    /** Of what the native half gave, unless that is an error. */
    RecordBatch(byte[] bytes) {
        In head = In.answer(bytes);
        partition = head.partition();
        nextOffset = head.i64();
        highWatermark = head.i64();
        count = head.i32();
        int begin = head.i32();
        this.bytes = bytes;
        views = head.position();
        data = views + count * VIEW_BYTES - begin;
    }

    long offset(int record) {
        return (long) LONGS.get(bytes, views + record * VIEW_BYTES + OFFSET);
    }

    long timestamp(int record) {
        return (long) LONGS.get(bytes, views + record * VIEW_BYTES + TIMESTAMP);
    }

    int keyLength(int record) {
        return number(record, KEY_LEN);
    }

    int valueLength(int record) {
        return number(record, VALUE_LEN);
    }

    int leaderEpoch(int record) {
        return number(record, LEADER_EPOCH);
    }

    /** The key's bytes; null for null. */
    ByteBuffer key(int record) {
        return part(number(record, KEY_OFF), number(record, KEY_LEN));
    }

    /** The value's bytes; null for null. */
    ByteBuffer value(int record) {
        return part(number(record, VALUE_OFF), number(record, VALUE_LEN));
    }

    Headers headers(int record) {
        int headers = number(record, HEADER_COUNT);
        if (headers == 0) {
            return new Headers();
        }
        int at = data + number(record, HEADERS_OFF);
        return Headers.read(ByteBuffer.wrap(bytes, at, bytes.length - at), headers);
    }

    private int number(int record, int field) {
        return (int) INTS.get(bytes, views + record * VIEW_BYTES + field);
    }

    private ByteBuffer part(int off, int length) {
        if (length < 0) {
            return null;
        }
        // What is empty lies nowhere.
        return length == 0 ? ByteBuffer.wrap(bytes, 0, 0) : ByteBuffer.wrap(bytes, data + off, length);
    }
}
