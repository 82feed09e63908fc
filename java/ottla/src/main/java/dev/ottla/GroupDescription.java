package dev.ottla;

import java.util.List;

/**
 * A group with its members.
 *
 * @param groupId its name
 * @param type {@code classic}, {@code consumer} ...
 * @param protocolType what it is for: {@code consumer} for those that read
 * @param state its state, as Kafka names it
 * @param assignor who divides the partitions
 * @param groupEpoch its epoch; -1 where it has none
 * @param coordinator the id of the broker that keeps it
 * @param members its members
 */
public record GroupDescription(
        String groupId,
        String type,
        String protocolType,
        String state,
        String assignor,
        int groupEpoch,
        int coordinator,
        List<Member> members) {
    /**
     * A member.
     *
     * @param memberId its id
     * @param groupInstanceId its lasting name; null for none
     * @param clientId what its client calls itself
     * @param host where it is
     * @param assignment what it has
     */
    public record Member(
            String memberId, String groupInstanceId, String clientId, String host, List<TopicPartition> assignment) {}
}
