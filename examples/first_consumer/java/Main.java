import dev.ottla.ConsumerRecord;
import dev.ottla.ConsumerRecords;
import dev.ottla.OttlaConsumer;
import dev.ottla.Serdes;
import dev.ottla.TopicPartition;
import java.time.Duration;
import java.util.List;

/**
 * Reads a topic's partition from its beginning, until nothing has come for two seconds.
 *
 * <pre>java -cp 'ottla-0.1.0.jar:slf4j-api-2.0.17.jar' Main.java localhost:9092 greetings</pre>
 */
final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        String address = arguments.length > 0 ? arguments[0] : "localhost:9092";
        String topic = arguments.length > 1 ? arguments[1] : "greetings";

        try (var consumer = OttlaConsumer.<String, String>builder()
                .bootstrapServers(address)
                .startFrom("earliest")
                .keyDeserializer(Serdes.stringDeserializer())
                .valueDeserializer(Serdes.stringDeserializer())
                .build()) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofSeconds(10));
            while (!records.isEmpty()) {
                for (ConsumerRecord<String, String> record : records) {
                    System.out.println(record.offset() + ": " + record.value());
                }
                records = consumer.poll(Duration.ofSeconds(2));
            }
        }
    }
}
