import dev.ottla.Headers;
import dev.ottla.OttlaProducer;
import dev.ottla.ProducerRecord;
import dev.ottla.RecordMetadata;
import dev.ottla.Serdes;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * Writes a few records and says where they are.
 *
 * <pre>java -cp 'ottla-0.1.0.jar:slf4j-api-2.0.17.jar' Main.java localhost:9092 greetings</pre>
 */
final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        String address = arguments.length > 0 ? arguments[0] : "localhost:9092";
        String topic = arguments.length > 1 ? arguments[1] : "greetings";

        try (var producer = OttlaProducer.<String, String>builder()
                .bootstrapServers(address)
                .keySerializer(Serdes.stringSerializer())
                .valueSerializer(Serdes.stringSerializer())
                .build()) {
            var headers = new Headers().add("language", "java".getBytes(StandardCharsets.UTF_8));
            List<CompletableFuture<RecordMetadata>> futures = new ArrayList<>();
            for (String name : List.of("Ada", "Grace", "Barbara")) {
                futures.add(producer.send(new ProducerRecord<>(topic, null, name, "hello, " + name, headers)));
            }
            for (CompletableFuture<RecordMetadata> future : futures) {
                RecordMetadata written = future.join();
                System.out.println(
                        "written to " + written.topic() + "-" + written.partition() + " at offset " + written.offset());
            }
        }
    }
}
