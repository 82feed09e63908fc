import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.Readable;

/**
 * Kafka's own codec, asked line by line; ends with its input.
 *
 * <pre>
 * {"message": "FetchRequest", "version": 17, "json": {...}}    ->  {"bytes": base64, "json": {...}}
 * {"message": "FetchRequest", "version": 17, "bytes": base64}  ->  {"json": {...}}
 * </pre>
 *
 * The JSON of an answer is read back from the bytes. What Kafka refuses is answered by {"error": why}.
 */
public final class Oracle {
    /** Where the jars keep their generated messages. */
    private static final String[] PACKAGES = {
        "org.apache.kafka.common.message",
        "org.apache.kafka.common.metadata",
        "org.apache.kafka.coordinator.group.generated",
        "org.apache.kafka.coordinator.share.generated",
        "org.apache.kafka.coordinator.transaction.generated",
        "org.apache.kafka.raft.generated",
        "org.apache.kafka.server.log.remote.metadata.storage.generated",
    };

    private static final ObjectMapper MAPPER = new ObjectMapper();

    /** A message's class, and the two ways between it and JSON. */
    private record Codec(Constructor<?> fromBytes, Method fromJson, Method toJson) {
        static Codec of(String name) throws ReflectiveOperationException {
            for (String inPackage : PACKAGES) {
                // Requests, responses and headers are called so, other messages by their bare name.
                for (String suffix : new String[] {"Data", ""}) {
                    String message = inPackage + "." + name + suffix;
                    try {
                        Class<?> converter = Class.forName(message + "JsonConverter");
                        Class<?> type = Class.forName(message);
                        return new Codec(
                            type.getConstructor(Readable.class, short.class),
                            converter.getMethod("read", JsonNode.class, short.class),
                            converter.getMethod("write", type, short.class, boolean.class));
                    } catch (ClassNotFoundException elsewhere) {
                        continue;
                    }
                }
            }
            throw new ClassNotFoundException(name);
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, Codec> codecs = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Writer out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode question = MAPPER.readTree(line);
            String name = question.get("message").textValue();
            Codec codec = codecs.get(name);
            if (codec == null) {
                codec = Codec.of(name);
                codecs.put(name, codec);
            }
            out.write(MAPPER.writeValueAsString(answer(codec, question)));
            out.write('\n');
            if (!in.ready()) {
                out.flush();
            }
        }
        out.flush();
    }

    private static ObjectNode answer(Codec codec, JsonNode question) throws ReflectiveOperationException {
        short version = question.get("version").shortValue();
        ObjectNode answer = MAPPER.createObjectNode();
        try {
            ByteBuffer bytes;
            if (question.has("json")) {
                Message message = (Message) codec.fromJson.invoke(null, question.get("json"), version);
                bytes = MessageUtil.toByteBufferAccessor(message, version).buffer();
                answer.put("bytes", MessageUtil.byteBufferToArray(bytes.duplicate()));
            } else {
                bytes = ByteBuffer.wrap(MessageUtil.jsonNodeToBinary(question.get("bytes"), "bytes"));
            }
            ByteBufferAccessor readable = new ByteBufferAccessor(bytes);
            Object message = codec.fromBytes.newInstance(readable, version);
            if (readable.remaining() > 0) {
                answer.put("error", readable.remaining() + " bytes are left");
            } else {
                answer.set("json", (JsonNode) codec.toJson.invoke(null, message, version, false));
            }
        } catch (InvocationTargetException refusal) {
            answer.put("error", String.valueOf(refusal.getCause()));
        } catch (RuntimeException refusal) {
            answer.put("error", refusal.toString());
        }
        return answer;
    }
}
