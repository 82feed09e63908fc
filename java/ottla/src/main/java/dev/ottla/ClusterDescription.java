package dev.ottla;

import java.util.List;

/**
 * A cluster.
 *
 * @param clusterId its id
 * @param controller the id of its controller; -1 where it is not known
 * @param nodes its brokers
 */
public record ClusterDescription(String clusterId, int controller, List<Node> nodes) {
    /**
     * A broker.
     *
     * @param id its id
     * @param host where it is
     * @param port on which port
     * @param rack its rack; null for none
     */
    public record Node(int id, String host, int port, String rack) {}
}
