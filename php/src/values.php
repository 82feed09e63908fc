<?php

// What is plain data.

declare(strict_types=1);

namespace Ottla;

/** A partition of a topic. As text, and as the key of an array, it is `orders-0`. */
final class TopicPartition implements \Stringable
{
    public function __construct(public readonly string $topic, public readonly int $partition)
    {
    }

    public function __toString(): string
    {
        return "{$this->topic}-{$this->partition}";
    }
}

/** A partition, and an offset in it: where reading goes on, or the answer to a question. */
final class TopicPartitionOffset
{
    public readonly TopicPartition $topicPartition;

    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly int $offset,
        /** What is committed beside it. */
        public readonly string $metadata = '',
        /** Epoch of the leader that wrote what is there; null where it is not known. */
        public readonly ?int $leaderEpoch = null,
    ) {
        $this->topicPartition = new TopicPartition($topic, $partition);
    }
}

/** Where a record was written. */
final class RecordMetadata
{
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        /** Null where the broker did not tell. */
        public readonly ?int $offset,
        /** Milliseconds since the epoch. */
        public readonly int $timestamp,
    ) {
    }
}

/** A topic to be created; what is null is left to the broker. */
final class NewTopic
{
    /** @param array<string, string|int|float|bool> $config */
    public function __construct(
        public readonly string $name,
        public readonly ?int $partitions = null,
        public readonly ?int $replicationFactor = null,
        public readonly array $config = [],
    ) {
    }
}

/** A partition of a topic, and where its replicas are, by the brokers' ids. */
final class PartitionDescription
{
    /**
     * @param list<int> $replicas
     * @param list<int> $inSync
     */
    public function __construct(
        public readonly int $partition,
        public readonly ?int $leader,
        public readonly array $replicas,
        public readonly array $inSync,
    ) {
    }
}

/** A topic and its partitions. */
final class TopicDescription
{
    /** @param list<PartitionDescription> $partitions */
    public function __construct(
        public readonly string $name,
        public readonly string $id,
        public readonly bool $isInternal,
        public readonly array $partitions,
    ) {
    }
}

/** A key of a configuration. The value of a sensitive one is null; the source is a number of Kafka's: 1 for the topic, 5 for the default. */
final class ConfigEntry
{
    public function __construct(
        public readonly string $name,
        public readonly ?string $value,
        public readonly int $source,
        public readonly bool $isReadOnly,
        public readonly bool $isSensitive,
    ) {
    }
}

/** A group, as a list of all has it; null where the broker does not tell. */
final class GroupListing
{
    public function __construct(
        public readonly string $groupId,
        public readonly ?string $state,
        public readonly ?string $type,
        public readonly string $protocolType,
    ) {
    }
}

/** A member of a group. */
final class GroupMember
{
    /** @param list<TopicPartition> $assignment */
    public function __construct(
        public readonly string $memberId,
        public readonly ?string $instanceId,
        public readonly string $clientId,
        public readonly string $host,
        public readonly array $assignment,
    ) {
    }
}

/** A group and its members. */
final class GroupDescription
{
    /** @param list<GroupMember> $members */
    public function __construct(
        public readonly string $groupId,
        public readonly string $state,
        public readonly string $type,
        public readonly string $assignor,
        public readonly int $coordinator,
        public readonly array $members,
    ) {
    }
}

/** A broker of the cluster. */
final class Broker
{
    public function __construct(
        public readonly int $id,
        public readonly string $host,
        public readonly int $port,
        public readonly ?string $rack,
    ) {
    }
}

/** The cluster and its brokers. */
final class ClusterDescription
{
    /** @param list<Broker> $brokers */
    public function __construct(
        public readonly string $clusterId,
        public readonly ?int $controller,
        public readonly array $brokers,
    ) {
    }
}

/** A token to log in with (`sasl.mechanism=OAUTHBEARER`). Dumped, it keeps its value to itself. */
final class Token
{
    /**
     * @param null|\DateTimeInterface|float $expires    when it ends, as a time or in seconds since 1970; null where it says so itself, as a JWT does
     * @param null|string                   $principal  whose it is, for logs and errors; null where it says so itself
     * @param array<string, string>         $extensions what the broker is told beside it (KIP-342)
     */
    public function __construct(
        #[\SensitiveParameter]
        public readonly string $value,
        public readonly null|\DateTimeInterface|float $expires = null,
        public readonly ?string $principal = null,
        public readonly array $extensions = [],
    ) {
    }

    public function __debugInfo(): array
    {
        return ['principal' => $this->principal, 'expires' => $this->expires];
    }
}
