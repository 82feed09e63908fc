import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaProducer;
import dev.ottla.Serdes;
import dev.ottla.TopicPartition;
import dev.ottla.testing.OttlaBroker;
import java.time.Duration;
import java.util.List;

/** The jars work: their own broker takes a record and gives it back. */
final class Smoke {
    private Smoke() {}

    public static void main(String[] arguments) {
        try (var broker = new OttlaBroker()) {
            long offset;
            try (var producer = OttlaProducer.<String, String>builder()
                    .bootstrapServers(broker.bootstrapServers())
                    .keySerializer(Serdes.stringSerializer())
                    .valueSerializer(Serdes.stringSerializer())
                    .build()) {
                offset = producer.send("smoke", "42", "two apples").join().offset();
            }
            try (var consumer = OttlaConsumer.<String, String>builder()
                    .bootstrapServers(broker.bootstrapServers())
                    .startFrom("earliest")
                    .keyDeserializer(Serdes.stringDeserializer())
                    .valueDeserializer(Serdes.stringDeserializer())
                    .build()) {
                consumer.assign(List.of(new TopicPartition("smoke", 0)));
                String value = consumer.poll(Duration.ofSeconds(30)).asList().get(0).value();
                if (!value.equals("two apples")) {
                    throw new AssertionError(value);
                }
            }
            System.out.println("Java: offset " + offset + " read back");
        }
    }
}
