import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Kafka's own assignors, group by group as the input says; ends with it. A dash is what is not there.
 *
 * <pre>
 * topic NAME RACKS|RACKS...                  the racks of each partition's replicas, with commas
 * member ID INSTANCE RACK GENERATION USER_DATA TOPICS OWNED
 * assign ASSIGNOR                            -&gt;  MEMBER=TOPIC:PARTITION,... MEMBER=...
 * </pre>
 */
public final class Assignors {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        List<PartitionInfo> partitions = new ArrayList<>();
        Map<String, Node> nodes = new HashMap<>();
        Map<String, Subscription> subscriptions = new HashMap<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "topic" -> {
                    int index = 0;
                    for (String racks : words[2].split("\\|")) {
                        Node[] replicas = list(racks).stream()
                            .map(rack -> nodes.computeIfAbsent(rack, name -> new Node(nodes.size(), "host", 1, name)))
                            .toArray(Node[]::new);
                        partitions.add(new PartitionInfo(words[1], index++, null, replicas, replicas));
                    }
                }
                case "member" -> {
                    List<TopicPartition> owned = list(words[7]).stream().map(Assignors::partition).toList();
                    ByteBuffer data = optional(words[5]).map(hex -> ByteBuffer.wrap(HexFormat.of().parseHex(hex))).orElse(null);
                    Subscription subscription =
                        new Subscription(list(words[6]), data, owned, Integer.parseInt(words[4]), optional(words[3]));
                    subscription.setGroupInstanceId(optional(words[2]));
                    subscriptions.put(words[1], subscription);
                }
                case "assign" -> {
                    Cluster cluster = new Cluster("cluster", nodes.values(), partitions, Set.of(), Set.of());
                    System.out.println(assign(assignor(words[1]), cluster, subscriptions));
                    partitions.clear();
                    nodes.clear();
                    subscriptions = new HashMap<>();
                }
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    private static String assign(ConsumerPartitionAssignor assignor, Cluster cluster, Map<String, Subscription> members) {
        Comparator<TopicPartition> order = Comparator.comparing(TopicPartition::topic).thenComparing(TopicPartition::partition);
        return assignor.assign(cluster, new GroupSubscription(members)).groupAssignment().entrySet().stream()
            .sorted(Map.Entry.comparingByKey())
            .map(entry -> entry.getKey() + "=" + entry.getValue().partitions().stream()
                .sorted(order)
                .map(partition -> partition.topic() + ":" + partition.partition())
                .collect(Collectors.joining(",")))
            .collect(Collectors.joining(" "));
    }

    private static ConsumerPartitionAssignor assignor(String name) {
        return switch (name) {
            case "range" -> new RangeAssignor();
            case "roundrobin" -> new RoundRobinAssignor();
            case "sticky" -> new StickyAssignor();
            case "cooperative-sticky" -> new CooperativeStickyAssignor();
            default -> throw new IllegalArgumentException(name);
        };
    }

    private static Optional<String> optional(String word) {
        return word.equals("-") ? Optional.empty() : Optional.of(word);
    }

    private static List<String> list(String word) {
        return word.equals("-") ? List.of() : List.of(word.split(","));
    }

    private static TopicPartition partition(String text) {
        int colon = text.lastIndexOf(':');
        return new TopicPartition(text.substring(0, colon), Integer.parseInt(text.substring(colon + 1)));
    }
}
