package dev.ottla;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;

/** The headers of a record, in their order. Not for several threads at once. */
public final class Headers implements Iterable<Header> {
    private final List<Header> headers;

    /** None. */
    public Headers() {
        headers = new ArrayList<>(4);
    }

    /**
     * These.
     *
     * @param headers the headers, which are copied
     */
    public Headers(Iterable<Header> headers) {
        this();
        headers.forEach(this.headers::add);
    }

    private Headers(List<Header> headers) {
        this.headers = headers;
    }

    /**
     * Adds one at the end.
     *
     * @param key its name
     * @param value its bytes, or null
     * @return these
     */
    public Headers add(String key, byte[] value) {
        return add(new Header(key, value));
    }

    /**
     * Adds one at the end.
     *
     * @param header the header
     * @return these
     */
    public Headers add(Header header) {
        headers.add(header);
        return this;
    }

    /**
     * Removes all of a name.
     *
     * @param key the name
     * @return these
     */
    public Headers remove(String key) {
        headers.removeIf(header -> header.key().equals(key));
        return this;
    }

    /**
     * The last of a name.
     *
     * @param key the name
     * @return the header; null if there is none
     */
    public Header lastHeader(String key) {
        for (int i = headers.size() - 1; i >= 0; i--) {
            if (headers.get(i).key().equals(key)) {
                return headers.get(i);
            }
        }
        return null;
    }

    /**
     * All of a name.
     *
     * @param key the name
     * @return the headers, in their order
     */
    public Iterable<Header> headers(String key) {
        return headers.stream().filter(header -> header.key().equals(key)).toList();
    }

    /**
     * How many there are.
     *
     * @return their number
     */
    public int size() {
        return headers.size();
    }

    /**
     * All of them.
     *
     * @return an array of its own
     */
    public Header[] toArray() {
        return headers.toArray(new Header[0]);
    }

    @Override
    public Iterator<Header> iterator() {
        return Collections.unmodifiableList(headers).iterator();
    }

    @Override
    public boolean equals(Object other) {
        if (!(other instanceof Headers that) || that.size() != size()) {
            return false;
        }
        for (int i = 0; i < size(); i++) {
            Header mine = headers.get(i);
            Header theirs = that.headers.get(i);
            if (!mine.key().equals(theirs.key()) || !java.util.Arrays.equals(mine.value(), theirs.value())) {
                return false;
            }
        }
        return true;
    }

    @Override
    public int hashCode() {
        int hash = 1;
        for (Header header : headers) {
            hash = 31 * hash + header.key().hashCode();
        }
        return hash;
    }

    @Override
    public String toString() {
        return headers.toString();
    }

    /** Reads what a record has: of each the length of its name, the name, the length of its value or -1, the value. */
    static Headers read(ByteBuffer in, int count) {
        List<Header> headers = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            byte[] key = bytes(in);
            headers.add(new Header(new String(key, StandardCharsets.UTF_8), bytes(in)));
        }
        return new Headers(headers);
    }

    private static byte[] bytes(ByteBuffer in) {
        int length = varint(in);
        if (length < 0) {
            return null;
        }
        byte[] bytes = new byte[length];
        in.get(bytes);
        return bytes;
    }

    private static int varint(ByteBuffer in) {
        int value = 0;
        for (int shift = 0; shift < 32; shift += 7) {
            int next = in.get();
            value |= (next & 0x7f) << shift;
            if (next >= 0) {
                break;
            }
        }
        return value >>> 1 ^ -(value & 1);
    }
}
