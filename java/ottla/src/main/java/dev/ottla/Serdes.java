package dev.ottla;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.UUID;
import java.util.function.Supplier;

/** The serializers and deserializers that come with the client. Each is stateless, and may be shared. */
public final class Serdes {
    private static final Serializer<byte[]> BYTES_OUT = (topic, data) -> data;
    private static final Serializer<String> STRING_OUT = (topic, data) -> data.getBytes(StandardCharsets.UTF_8);
    private static final Serializer<Integer> INTEGER_OUT = (topic, data) -> ByteBuffer.allocate(4).putInt(data).array();
    private static final Serializer<Long> LONG_OUT = (topic, data) -> ByteBuffer.allocate(8).putLong(data).array();
    private static final Serializer<Double> DOUBLE_OUT = (topic, data) -> ByteBuffer.allocate(8).putDouble(data).array();
    private static final Serializer<UUID> UUID_OUT = (topic, data) -> data.toString().getBytes(StandardCharsets.UTF_8);
    private static final Serializer<ByteBuffer> BUFFER_OUT = (topic, data) -> {
        byte[] bytes = new byte[data.remaining()];
        data.duplicate().get(bytes);
        return bytes;
    };
    private static final Serializer<Void> VOID_OUT = (topic, data) -> null;

    private Serdes() {}

    /** One that reads where the bytes lie. */
    private interface InPlace<T> extends Deserializer<T> {
        T read(ByteBuffer data);

        @Override
        default T deserialize(String topic, byte[] data) {
            return read(ByteBuffer.wrap(data));
        }

        @Override
        default T deserialize(String topic, Headers headers, ByteBuffer data) {
            return read(data);
        }
    }

    private static <T> Deserializer<T> inPlace(InPlace<T> read) {
        return read;
    }

    private static final Deserializer<byte[]> BYTES_IN = inPlace(data -> {
        byte[] bytes = new byte[data.remaining()];
        data.get(bytes);
        return bytes;
    });
    private static final Deserializer<String> STRING_IN = inPlace(Serdes::text);
    private static final Deserializer<Integer> INTEGER_IN = inPlace(data -> sized(data, 4).getInt());
    private static final Deserializer<Long> LONG_IN = inPlace(data -> sized(data, 8).getLong());
    private static final Deserializer<Double> DOUBLE_IN = inPlace(data -> sized(data, 8).getDouble());
    private static final Deserializer<UUID> UUID_IN = inPlace(data -> UUID.fromString(text(data)));
    private static final Deserializer<ByteBuffer> BUFFER_IN = inPlace(data -> data.slice().asReadOnlyBuffer());
    private static final Deserializer<Void> VOID_IN = inPlace(data -> null);

    /** By the names of Kafka's own, so that an existing configuration serves. */
    private static final Map<String, Supplier<?>> KAFKAS = Map.ofEntries(
            Map.entry("ByteArraySerializer", () -> BYTES_OUT),
            Map.entry("StringSerializer", () -> STRING_OUT),
            Map.entry("IntegerSerializer", () -> INTEGER_OUT),
            Map.entry("LongSerializer", () -> LONG_OUT),
            Map.entry("DoubleSerializer", () -> DOUBLE_OUT),
            Map.entry("UUIDSerializer", () -> UUID_OUT),
            Map.entry("ByteBufferSerializer", () -> BUFFER_OUT),
            Map.entry("VoidSerializer", () -> VOID_OUT),
            Map.entry("ByteArrayDeserializer", () -> BYTES_IN),
            Map.entry("StringDeserializer", () -> STRING_IN),
            Map.entry("IntegerDeserializer", () -> INTEGER_IN),
            Map.entry("LongDeserializer", () -> LONG_IN),
            Map.entry("DoubleDeserializer", () -> DOUBLE_IN),
            Map.entry("UUIDDeserializer", () -> UUID_IN),
            Map.entry("ByteBufferDeserializer", () -> BUFFER_IN),
            Map.entry("VoidDeserializer", () -> VOID_IN));
    private static final String KAFKAS_PACKAGE = "org.apache.kafka.common.serialization.";

    /** The one that has this name among Kafka's; null if it has none. */
    static Object ofKafkas(String name) {
        if (!name.startsWith(KAFKAS_PACKAGE)) {
            return null;
        }
        Supplier<?> found = KAFKAS.get(name.substring(KAFKAS_PACKAGE.length()));
        return found == null ? null : found.get();
    }

    /**
     * Bytes as they are.
     *
     * @return a serializer
     */
    public static Serializer<byte[]> bytesSerializer() {
        return BYTES_OUT;
    }

    /**
     * Bytes as they are, in an array of their own.
     *
     * @return a deserializer
     */
    public static Deserializer<byte[]> bytesDeserializer() {
        return BYTES_IN;
    }

    /**
     * Text as UTF-8.
     *
     * @return a serializer
     */
    public static Serializer<String> stringSerializer() {
        return STRING_OUT;
    }

    /**
     * Text from UTF-8.
     *
     * @return a deserializer
     */
    public static Deserializer<String> stringDeserializer() {
        return STRING_IN;
    }

    /**
     * Numbers as 4 bytes, the highest first.
     *
     * @return a serializer
     */
    public static Serializer<Integer> integerSerializer() {
        return INTEGER_OUT;
    }

    /**
     * Numbers of 4 bytes, the highest first.
     *
     * @return a deserializer
     */
    public static Deserializer<Integer> integerDeserializer() {
        return INTEGER_IN;
    }

    /**
     * Numbers as 8 bytes, the highest first.
     *
     * @return a serializer
     */
    public static Serializer<Long> longSerializer() {
        return LONG_OUT;
    }

    /**
     * Numbers of 8 bytes, the highest first.
     *
     * @return a deserializer
     */
    public static Deserializer<Long> longDeserializer() {
        return LONG_IN;
    }

    /**
     * What remains in a buffer, whose position stays.
     *
     * @return a serializer
     */
    public static Serializer<ByteBuffer> byteBufferSerializer() {
        return BUFFER_OUT;
    }

    /**
     * A view on the bytes, read-only: nothing is copied, and it keeps its batch in memory.
     *
     * @return a deserializer
     */
    public static Deserializer<ByteBuffer> byteBufferDeserializer() {
        return BUFFER_IN;
    }

    private static String text(ByteBuffer data) {
        if (data.hasArray()) {
            return new String(data.array(), data.arrayOffset() + data.position(), data.remaining(), StandardCharsets.UTF_8);
        }
        return StandardCharsets.UTF_8.decode(data).toString();
    }

    private static ByteBuffer sized(ByteBuffer data, int bytes) {
        if (data.remaining() != bytes) {
            throw new IllegalArgumentException("a number of " + bytes + " bytes has " + data.remaining());
        }
        return data;
    }
}
