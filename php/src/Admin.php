<?php

declare(strict_types=1);

namespace Ottla;

use FFI\CData;
use Ottla\Native\Client;
use Ottla\Native\Library;
use Ottla\Native\Results;
use Ottla\Native\Rows;

/**
 * Looks after topics, configurations, groups and offsets. Of several things that are asked for together the first that fails is thrown; with
 * `returnErrors: true` exceptions stand among what is given.
 *
 *     (new Ottla\Admin('localhost:9092'))->createTopics([new Ottla\NewTopic('orders', partitions: 3)]);
 */
final class Admin
{
    private const RESOURCE_TOPIC = 2;
    private const RESOURCE_BROKER = 4;

    private readonly Client $client;

    /**
     * @param null|array<string, mixed>|string $config where the brokers are, or Kafka's keys, as they are or in snake case
     * @param mixed ...$settings the same, by name; `token_provider` gives tokens to log in with: a callable, or an object with a
     *                           method `token`, for a string or a {@see Token}. It is asked while the program waits for the client
     *
     * @throws Exception\ConfigException a setting is wrong
     */
    public function __construct(array|string|null $config = null, mixed ...$settings)
    {
        $this->client = new Client('admin', Client::settings($config, $settings));
    }

    /**
     * Creates topics; or says whether they could be.
     *
     * @param list<NewTopic|string> $topics
     */
    public function createTopics(array $topics, bool $validateOnly = false, bool $returnErrors = false): array
    {
        $rows = new Rows('ottla_new_topic', $topics, static function (Rows $rows, CData $row, NewTopic|string $topic): void {
            $topic = is_string($topic) ? new NewTopic($topic) : $topic;
            $config = $rows->hold(self::pairs($topic->config));
            $row->size = \FFI::sizeof($row);
            $row->partitions = $topic->partitions ?? -1;
            $row->replication_factor = $topic->replicationFactor ?? -1;
            $row->name = $rows->text($topic->name);
            $row->configs = $config->pointer;
            $row->config_count = $config->count;
        });

        return $this->outcomes($this->ask('ottla_admin_create_topics', $rows->pointer, $rows->count, $validateOnly), $returnErrors);
    }

    /**
     * Deletes topics with all their records.
     *
     * @param list<string> $topics
     */
    public function deleteTopics(array $topics, bool $returnErrors = false): array
    {
        return $this->outcomes($this->named('ottla_admin_delete_topics', $topics), $returnErrors);
    }

    /**
     * Raises the numbers of partitions of topics.
     *
     * @param array<string, int> $totals
     */
    public function createPartitions(array $totals, bool $validateOnly = false, bool $returnErrors = false): array
    {
        $outcomes = [];
        foreach ($totals as $topic => $total) {
            $call = $this->ask('ottla_admin_create_partitions', (string) $topic, $total, $validateOnly);
            $outcomes += $this->outcomes($call, $returnErrors);
        }

        return $outcomes;
    }

    /**
     * @param list<string> $topics
     *
     * @return array<string, TopicDescription>
     */
    public function describeTopics(array $topics, bool $returnErrors = false): array
    {
        return $this->client->call(
            $this->named('ottla_admin_describe_topics', $topics),
            static fn (CData $result): array => Results::outcomes($result, $returnErrors, Results::topics($result)),
        );
    }

    /**
     * The names of all topics; those of Kafka's own, too, if that is asked for.
     *
     * @return list<string>
     */
    public function listTopics(bool $internal = false): array
    {
        $topics = $this->client->call($this->ask('ottla_admin_list_topics'), Results::topics(...));
        $wanted = array_filter($topics, static fn (TopicDescription $topic): bool => $internal || !$topic->isInternal);

        return array_map('strval', array_keys($wanted));
    }

    /** @return array<string, ConfigEntry> by key */
    public function topicConfig(string $topic): array
    {
        return $this->config(self::RESOURCE_TOPIC, $topic);
    }

    /** @return array<string, ConfigEntry> by key */
    public function brokerConfig(int $broker): array
    {
        return $this->config(self::RESOURCE_BROKER, (string) $broker);
    }

    /**
     * Sets keys of a topic's configuration, or takes those back whose value is null.
     *
     * @param array<string, null|bool|float|int|string> $changes
     */
    public function alterTopicConfig(string $topic, array $changes, bool $validateOnly = false): void
    {
        $rows = self::pairs($changes);
        $call = $this->ask('ottla_admin_alter_config', self::RESOURCE_TOPIC, $topic, $rows->pointer, $rows->count, $validateOnly);
        $this->outcomes($call, false);
    }

    /** @return list<GroupListing> */
    public function listGroups(): array
    {
        return $this->client->call($this->ask('ottla_admin_list_groups'), Results::groupListings(...));
    }

    /**
     * @param list<string> $groups
     *
     * @return array<string, GroupDescription>
     */
    public function describeGroups(array $groups, bool $returnErrors = false): array
    {
        return $this->client->call(
            $this->named('ottla_admin_describe_groups', $groups),
            static fn (CData $result): array => Results::outcomes($result, $returnErrors, Results::groups($result)),
        );
    }

    /**
     * Deletes groups without members, with the offsets they have committed.
     *
     * @param list<string> $groups
     */
    public function deleteGroups(array $groups, bool $returnErrors = false): array
    {
        return $this->outcomes($this->named('ottla_admin_delete_groups', $groups), $returnErrors);
    }

    /**
     * All offsets that a group has committed.
     *
     * @return array<string, TopicPartitionOffset> by the partition's name, as `orders-0`
     */
    public function groupOffsets(string $group): array
    {
        return $this->client->call($this->ask('ottla_admin_group_offsets', $group), static function (CData $result): array {
            Results::outcomes($result, false);

            return Results::offsets($result);
        });
    }

    /**
     * Commits offsets in the name of a group without members.
     *
     * @param list<TopicPartitionOffset> $offsets
     */
    public function alterGroupOffsets(string $group, array $offsets, bool $returnErrors = false): array
    {
        $rows = Library::partitions($offsets);

        return $this->outcomes($this->ask('ottla_admin_alter_group_offsets', $group, $rows->pointer, $rows->count), $returnErrors);
    }

    /**
     * Forgets offsets that a group has committed, of topics that no member of it reads.
     *
     * @param list<TopicPartition> $partitions
     */
    public function deleteGroupOffsets(string $group, array $partitions, bool $returnErrors = false): array
    {
        $rows = Library::partitions($partitions);

        return $this->outcomes($this->ask('ottla_admin_delete_group_offsets', $group, $rows->pointer, $rows->count), $returnErrors);
    }

    /**
     * The offsets that are meant: `earliest`, `latest`, or those of the first records of a time.
     *
     * @param list<TopicPartition> $partitions
     *
     * @return array<string, ?int> by the partition's name, as `orders-0`
     */
    public function listOffsets(array $partitions, string|\DateTimeInterface $place, bool $returnErrors = false): array
    {
        $rows = Library::partitions($partitions);
        $call = $this->ask('ottla_admin_list_offsets', Consumer::place($rows, $place), $rows->pointer, $rows->count);

        return $this->client->call($call, static function (CData $result) use ($returnErrors): array {
            $offsets = array_map(static fn (TopicPartitionOffset $at): int => $at->offset, Results::offsets($result));

            return Results::outcomes($result, $returnErrors, $offsets);
        });
    }

    public function describeCluster(): ClusterDescription
    {
        return $this->client->call($this->ask('ottla_admin_describe_cluster'), Results::cluster(...));
    }

    /** Lets go of connections. Closing again does nothing. */
    public function close(): void
    {
        $this->client->free();
    }

    private function ask(string $function, mixed ...$arguments): CData
    {
        return Library::ffi()->{$function}($this->client->handle(), ...$arguments);
    }

    private function named(string $function, array $names): CData
    {
        $names = Library::names($names);

        return $this->ask($function, $names->pointer, $names->count);
    }

    private function outcomes(CData $call, bool $returnErrors): array
    {
        return $this->client->call($call, static fn (CData $result): array => Results::outcomes($result, $returnErrors));
    }

    private function config(int $kind, string $name): array
    {
        return $this->client->call(
            $this->ask('ottla_admin_describe_config', $kind, $name),
            static fn (CData $result): array => Results::outcomes($result, false, Results::configs($result))[$name],
        );
    }

    private static function pairs(array $changes): Rows
    {
        $pairs = array_map(null, array_map('strval', array_keys($changes)), array_values($changes));

        return new Rows('ottla_pair', $pairs, static function (Rows $rows, CData $row, array $pair): void {
            [$key, $value] = $pair;
            $row->name = $rows->text($key);
            $row->value = match (true) {
                $value === null => null,
                is_bool($value) => $rows->text($value ? 'true' : 'false'),
                default => $rows->text((string) $value),
            };
        });
    }
}
