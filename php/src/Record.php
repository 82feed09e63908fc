<?php

declare(strict_types=1);

namespace Ottla;

/**
 * A consumed record, read out of its batch as it is asked for. It may be kept for as long as anybody likes; it keeps its batch.
 *
 * @property-read string $topic
 * @property-read int $partition
 * @property-read TopicPartition $topicPartition
 * @property-read int $offset
 * @property-read int $timestamp milliseconds since the epoch; -1 for none
 * @property-read ?string $key
 * @property-read ?string $value
 * @property-read list<array{string, ?string}> $headers pairs of name and value, in their order
 * @property-read ?int $leaderEpoch epoch of the leader that wrote it; null where it is not known
 */
final class Record
{
    /** @internal */
    public function __construct(private readonly RecordBatch $batch, private readonly int $index)
    {
    }

    public function __get(string $name): mixed
    {
        return match ($name) {
            'value' => $this->batch->bytes($this->index, 20, 32),
            'key' => $this->batch->bytes($this->index, 16, 28),
            'offset' => $this->batch->column('q', $this->index, 0),
            'timestamp' => $this->batch->column('q', $this->index, 8),
            'headers' => $this->batch->headers($this->index),
            'topic' => $this->batch->topicPartition->topic,
            'partition' => $this->batch->topicPartition->partition,
            'topicPartition' => $this->batch->topicPartition,
            'leaderEpoch' => ($epoch = $this->batch->column('l', $this->index, 40)) < 0 ? null : $epoch,
            default => throw new \Error("a record has no `{$name}`"),
        };
    }

    public function __isset(string $name): bool
    {
        return in_array(
            $name,
            ['value', 'key', 'offset', 'timestamp', 'headers', 'topic', 'partition', 'topicPartition', 'leaderEpoch'],
            true,
        ) && $this->__get($name) !== null;
    }
}
