import dev.ottla.ConsumerRecord;
import dev.ottla.OttlaConsumer;
import dev.ottla.RebalanceListener;
import dev.ottla.Serdes;
import dev.ottla.TopicPartition;
import java.time.Duration;
import java.util.Collection;

/**
 * A member of a group: reads what the group gives it until nothing has come for two seconds, commits what it is done with, and is told of
 * rebalances.
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
                .groupId(topic)
                .topics(topic)
                .startFrom("earliest")
                .config("enable.auto.commit", false)
                .keyDeserializer(Serdes.stringDeserializer())
                .valueDeserializer(Serdes.stringDeserializer())
                .onRebalance(new Told())
                .build()) {
            var records = consumer.poll(Duration.ofSeconds(10));
            while (!records.isEmpty()) {
                for (ConsumerRecord<String, String> record : records) {
                    System.out.println(record.value());
                }
                consumer.commitSync(records.nextOffsets());
                records = consumer.poll(Duration.ofSeconds(2));
            }
        }
    }

    private static final class Told implements RebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> System.out.println("assigned: " + partition));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> System.out.println("revoked: " + partition));
        }
    }
}
