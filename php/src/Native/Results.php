<?php

declare(strict_types=1);

namespace Ottla\Native;

use FFI;
use FFI\CData;
use Ottla\Broker;
use Ottla\ClusterDescription;
use Ottla\ConfigEntry;
use Ottla\Exception\OttlaException;
use Ottla\GroupDescription;
use Ottla\GroupListing;
use Ottla\GroupMember;
use Ottla\PartitionDescription;
use Ottla\TopicDescription;
use Ottla\TopicPartition;
use Ottla\TopicPartitionOffset;

/**
 * What calls give, as PHP's own.
 *
 * @internal
 */
final class Results
{
    public static function partition(CData $row): TopicPartition
    {
        return new TopicPartition(self::text($row->topic), $row->partition);
    }

    /** @return array<string, TopicPartitionOffset> */
    public static function offsets(CData $result): array
    {
        $offsets = [];
        foreach (Library::rows('ottla_result_partitions', $result) as $row) {
            $epoch = $row->leader_epoch < 0 ? null : $row->leader_epoch;
            $at = new TopicPartitionOffset(self::text($row->topic), $row->partition, $row->offset, self::text($row->metadata), $epoch);
            $offsets[(string) $at->topicPartition] = $at;
        }

        return $offsets;
    }

    /**
     * What became of each thing: the first that failed is thrown, unless errors are asked for, which stand in the place of what is given.
     *
     * @return array<string, mixed> by name, or by the partition's name
     */
    public static function outcomes(CData $result, bool $returnErrors, array $given = []): array
    {
        $outcomes = [];
        foreach (Library::rows('ottla_result_outcomes', $result) as $row) {
            $name = self::text($row->name);
            $key = $row->partition < 0 ? $name : "{$name}-{$row->partition}";
            if ($row->status === 0) {
                $outcomes[$key] = $given[$key] ?? null;
                continue;
            }
            $error = $row->error === null ? OttlaException::of($row->status) : OttlaException::read($row->error);
            $outcomes[$key] = $returnErrors ? $error : throw $error;
        }

        return $outcomes;
    }

    /** @return array<string, TopicDescription> */
    public static function topics(CData $result): array
    {
        $topics = [];
        foreach (Library::rows('ottla_result_topics', $result) as $row) {
            $id = bin2hex(FFI::string(FFI::addr($row->id[0]), 16));
            $name = self::text($row->name);
            $topics[$name] = new TopicDescription(
                $name,
                preg_replace('/^(.{8})(.{4})(.{4})(.{4})/', '$1-$2-$3-$4-', $id),
                $row->is_internal,
                array_map(self::placement(...), $row->partitions === null ? [] : Library::listed($row->partitions, $row->partition_count)),
            );
        }

        return $topics;
    }

    /** @return array<string, array<string, ConfigEntry>> */
    public static function configs(CData $result): array
    {
        $configs = [];
        foreach (Library::rows('ottla_result_configs', $result) as $row) {
            $entries = [];
            foreach (Library::listed($row->entries, $row->entry_count) as $entry) {
                $name = self::text($entry->name);
                $value = $entry->value === null ? null : self::text($entry->value);
                $entries[$name] = new ConfigEntry($name, $value, $entry->source, $entry->is_read_only, $entry->is_sensitive);
            }
            $configs[self::text($row->name)] = $entries;
        }

        return $configs;
    }

    /** @return list<GroupListing> */
    public static function groupListings(CData $result): array
    {
        return array_map(static fn (CData $row): GroupListing => new GroupListing(
            self::text($row->group_id),
            self::text($row->state) ?: null,
            self::text($row->group_type) ?: null,
            self::text($row->protocol_type),
        ), Library::rows('ottla_result_groups', $result));
    }

    /** @return array<string, GroupDescription> */
    public static function groups(CData $result): array
    {
        $groups = [];
        foreach (Library::rows('ottla_result_groups', $result) as $row) {
            $id = self::text($row->group_id);
            $groups[$id] = new GroupDescription(
                $id,
                self::text($row->state),
                self::text($row->group_type),
                self::text($row->assignor),
                $row->coordinator,
                array_map(self::member(...), Library::listed($row->members, $row->member_count)),
            );
        }

        return $groups;
    }

    public static function cluster(CData $result): ClusterDescription
    {
        $controller = Library::ffi()->ottla_result_number($result);

        return new ClusterDescription(
            Library::ffi()->ottla_result_cluster_id($result),
            $controller < 0 ? null : $controller,
            array_map(static fn (CData $row): Broker => new Broker(
                $row->id,
                self::text($row->host),
                $row->port,
                $row->rack === null ? null : self::text($row->rack),
            ), Library::rows('ottla_result_brokers', $result)),
        );
    }

    private static function member(CData $row): GroupMember
    {
        return new GroupMember(
            self::text($row->member_id),
            $row->instance_id === null ? null : self::text($row->instance_id),
            self::text($row->client_id),
            self::text($row->host),
            array_map(self::partition(...), Library::listed($row->assignment, $row->assignment_count)),
        );
    }

    private static function placement(CData $row): PartitionDescription
    {
        return new PartitionDescription(
            $row->partition,
            $row->leader < 0 ? null : $row->leader,
            Library::listed($row->replicas, $row->replica_count),
            Library::listed($row->in_sync, $row->in_sync_count),
        );
    }

    /** A text of C's; PHP has turned constant ones into its own. */
    private static function text(CData|string|null $text): string
    {
        return $text instanceof CData ? FFI::string($text) : (string) $text;
    }
}
