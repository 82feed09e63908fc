<?php

declare(strict_types=1);

namespace Ottla;

use FFI;
use FFI\CData;
use Ottla\Exception\ClosedException;
use Ottla\Exception\OttlaException;
use Ottla\Native\Call;
use Ottla\Native\Client;
use Ottla\Native\Library;
use Ottla\Native\Results;
use Ottla\Native\Rows;

/**
 * Reads records, of partitions that it is given, or of those that its group gives it. Heartbeats and fetches go on by themselves.
 *
 *     $consumer = new Ottla\Consumer('localhost:9092', group: 'billing', topics: ['orders'], start: 'earliest');
 *     foreach ($consumer as $record) {
 *         echo $record->value, "\n";
 *     }
 *
 * In a group what the program is done with is committed by itself: a record when it was handed out, and the next are asked for, or the
 * consumer is closed.
 *
 * @implements \IteratorAggregate<int, Record>
 */
final class Consumer implements \IteratorAggregate
{
    /** Longest that closing waits for a group where nobody says. */
    public const CLOSE_TIMEOUT_S = 30.0;
    /** How many records are taken at once for a loop over records. */
    private const RECORDS_MAX = 500;
    private const OFFSET_SPECS = ['earliest' => 1, 'latest' => 2];
    private const OFFSET_TIMESTAMP = 3;
    private const REBALANCE_ASSIGNED = 1;
    private const REBALANCE_REVOKED = 2;
    private const REBALANCE_LOST = 3;

    private readonly Client $client;
    /** @var array<int, \Closure> */
    private readonly array $listeners;
    /** The records that a loop is in. */
    private ?RecordBatch $hand = null;
    /** How far it has come. */
    private int $next = 0;
    /** Somebody may have gone elsewhere since these records came. */
    private bool $changed = false;
    private bool $woken = false;

    /**
     * @param null|array<string, mixed>|string $config where the brokers are, or Kafka's keys, as they are or in snake case
     * @param ?string $group `group.id`
     * @param ?list<string> $topics what is subscribed to
     * @param ?string $start `auto.offset.reset`
     * @param ?callable $onAssigned called with the consumer and a list of the partitions that a rebalance gave, where records are asked for
     * @param ?callable $onRevoked as that, with those that are about to go: they can still be committed
     * @param ?callable $onLost as that, with those that are gone
     * @param mixed ...$settings Kafka's keys, by name; `token_provider` gives tokens to log in with: a callable, or an object with a
     *                           method `token`, for a string or a {@see Token}. It is asked while the program waits for the client
     *
     * @throws Exception\ConfigException a setting is wrong
     */
    public function __construct(
        array|string|null $config = null,
        ?string $group = null,
        ?array $topics = null,
        ?string $start = null,
        ?callable $onAssigned = null,
        ?callable $onRevoked = null,
        ?callable $onLost = null,
        mixed ...$settings,
    ) {
        $named = ['group.id' => $group, 'auto.offset.reset' => $start];
        $this->client = new Client('consumer', Client::settings($config, [...$settings, ...$named]));
        $this->listeners = array_map(static fn (callable $listener): \Closure => $listener(...), array_filter([
            self::REBALANCE_ASSIGNED => $onAssigned,
            self::REBALANCE_REVOKED => $onRevoked,
            self::REBALANCE_LOST => $onLost,
        ]));
        if ($this->listeners !== []) {
            $this->checked('ottla_consumer_listen');
        }
        if ($topics !== null) {
            $this->subscribe($topics);
        }
    }

    // ---- what is read

    /**
     * Reads these topics and no others, with the other members of the group.
     *
     * @param list<string> $topics
     */
    public function subscribe(array $topics): void
    {
        $names = Library::names($topics);
        $this->checked('ottla_consumer_subscribe', $names->pointer, $names->count);
        $this->changed = true;
    }

    /** Reads all topics whose whole name matches a regular expression, which the library looks at. */
    public function subscribePattern(string $pattern): void
    {
        $this->checked('ottla_consumer_subscribe_pattern', $pattern);
        $this->changed = true;
    }

    /** Leaves the group, with what the program is done with committed; or reads no partitions any more. */
    public function unsubscribe(): void
    {
        $this->keepBack();
        $this->hand = null;
        $this->leave($this->client->start(Library::ffi()->ottla_consumer_unsubscribe_call($this->client->handle())));
    }

    /**
     * Reads these partitions and no others: from an offset that is given, or else from where the group or `auto.offset.reset` says.
     *
     * @param list<TopicPartition|TopicPartitionOffset> $partitions
     */
    public function assign(array $partitions): void
    {
        $this->keepBack();
        $this->hand = null;
        $this->ofPartitions('ottla_consumer_assign', $partitions);
    }

    /** @return list<TopicPartition> what is assigned, in no order */
    public function assignment(): array
    {
        return $this->listed('ottla_consumer_assignment');
    }

    /** Goes to an offset, to `earliest` or `latest`, or to the first record of a time. */
    public function seek(TopicPartition $partition, int|string|\DateTimeInterface $to): void
    {
        if (is_int($to)) {
            $rows = Library::partitions([new TopicPartitionOffset($partition->topic, $partition->partition, $to)]);
            $this->checked('ottla_consumer_seek', $rows->pointer);
        } else {
            $rows = Library::partitions([$partition]);
            $this->checked('ottla_consumer_seek_to', $rows->pointer, self::place($rows, $to));
        }
        // What a loop has in hand of the partition is from elsewhere.
        if ((string) $this->hand?->topicPartition === (string) $partition) {
            $this->hand = null;
        }
    }

    /**
     * Holds partitions: nothing of them is handed out.
     *
     * @param list<TopicPartition> $partitions
     */
    public function pause(array $partitions): void
    {
        $this->ofPartitions('ottla_consumer_pause', $partitions);
    }

    /**
     * Lets partitions that are held go on.
     *
     * @param list<TopicPartition> $partitions
     */
    public function resume(array $partitions): void
    {
        $this->ofPartitions('ottla_consumer_resume', $partitions);
    }

    /** @return list<TopicPartition> those that are held, in no order */
    public function paused(): array
    {
        return $this->listed('ottla_consumer_paused');
    }

    /** The offset of the next record to be handed out; null as long as it is being looked for. */
    public function position(TopicPartition $partition): ?int
    {
        if ((string) $this->hand?->topicPartition === (string) $partition && $this->isInHand()) {
            return $this->hand->column('q', $this->next, 0);
        }

        return $this->reached($partition);
    }

    // ---- records

    /**
     * The next record, as soon as there is one; null if none came in time, or `wake` was called.
     *
     * @param ?float $timeout seconds; null waits for ever
     *
     * @throws OttlaException what is wrong with a partition, which it names, or with the consumer; it is told once
     */
    public function poll(?float $timeout = null): ?Record
    {
        if (!$this->isInHand()) {
            $this->hand = $this->fetched(self::RECORDS_MAX, $timeout);
            $this->next = 0;
            if ($this->hand === null) {
                return null;
            }
        }

        return $this->hand[$this->next++];
    }

    /**
     * The next records of one partition, as soon as there are any; null if none came in time, or `wake` was called.
     *
     * @param int $max how many at most
     * @param ?float $timeout seconds; null waits for ever
     */
    public function nextBatch(int $max = self::RECORDS_MAX, ?float $timeout = null): ?RecordBatch
    {
        // What a loop over records has not come to comes again.
        if ($this->isInHand()) {
            $this->seek($this->hand->topicPartition, $this->hand->column('q', $this->next, 0));
        }

        return $this->fetched($max, $timeout);
    }

    /**
     * The records, one by one, until the consumer is closed, or `wake` is called.
     *
     * @return \Generator<int, Record>
     */
    public function getIterator(): \Generator
    {
        while (($record = $this->goingOn(fn (): ?Record => $this->poll())) !== null) {
            yield $record;
        }
    }

    /**
     * As the consumer's own loop, batch by batch.
     *
     * @return \Generator<int, RecordBatch>
     */
    public function batches(int $max = self::RECORDS_MAX): \Generator
    {
        while (($batch = $this->goingOn(fn (): ?RecordBatch => $this->nextBatch($max))) !== null) {
            yield $batch;
        }
    }

    /** Ends a wait for records within 50 ms, or the next one that would be; for handlers of signals. */
    public function wake(): void
    {
        $this->woken = true;
    }

    // ---- commits

    /**
     * Commits that all is done that was handed out, or a record with all before it in its partition, or a batch, or offsets.
     *
     * @param null|list<TopicPartitionOffset>|Record|RecordBatch $what
     * @param ?float $timeout seconds; null for as long as it takes
     *
     * @throws Exception\CommitFailedException the partitions are no longer this consumer's
     */
    public function commit(array|Record|RecordBatch|null $what = null, ?float $timeout = null): void
    {
        $ffi = Library::ffi();
        if ($what instanceof Record) {
            $what = [new TopicPartitionOffset($what->topic, $what->partition, $what->offset + 1, '', $what->leaderEpoch)];
        }
        if (is_array($what)) {
            $rows = Library::partitions($what);
            $call = $ffi->ottla_consumer_commit_offsets_call($this->client->handle(), $rows->pointer, $rows->count);
        } else {
            if ($what === null) {
                $this->keepBack();
            }
            $call = $ffi->ottla_consumer_commit_call($this->client->handle(), $what?->native());
        }
        $this->client->call($call, timeout: $timeout, what: 'the commit');
    }

    /**
     * What the group has committed; partitions of which nothing is are left out.
     *
     * @param list<TopicPartition> $partitions
     *
     * @return array<string, TopicPartitionOffset> by the partition's name, as `orders-0`
     */
    public function committed(array $partitions): array
    {
        $rows = Library::partitions($partitions);
        $call = Library::ffi()->ottla_consumer_committed($this->client->handle(), $rows->pointer, $rows->count);

        return $this->client->call($call, Results::offsets(...));
    }

    // ---- questions

    /**
     * The first offsets that are still there.
     *
     * @param list<TopicPartition> $partitions
     *
     * @return array<string, int> by the partition's name, as `orders-0`
     */
    public function beginningOffsets(array $partitions): array
    {
        return $this->offsets($partitions, 'earliest');
    }

    /**
     * The offsets behind the last records.
     *
     * @param list<TopicPartition> $partitions
     *
     * @return array<string, int> by the partition's name, as `orders-0`
     */
    public function endOffsets(array $partitions): array
    {
        return $this->offsets($partitions, 'latest');
    }

    /**
     * The first records of a time, or later ones; partitions without one are left out.
     *
     * @param list<TopicPartition> $partitions
     *
     * @return array<string, int> by the partition's name, as `orders-0`
     */
    public function offsetsForTime(array $partitions, \DateTimeInterface $time): array
    {
        return $this->offsets($partitions, $time);
    }

    /**
     * What it has counted, by name; null where there is nothing yet.
     *
     * @return array<string, ?float>
     */
    public function metrics(): array
    {
        $handle = $this->client->handle();

        return Client::metrics(static fn (?CData $places, int $room): int => Library::ffi()->ottla_consumer_metrics($handle, $places, $room));
    }

    // ---- the end

    /**
     * Leaves the group, with what the program is done with committed, and ends; so do loops over records. Closing again does nothing.
     *
     * @param float $timeout seconds; what is not done by then is left to the group to find out, and this fails
     */
    public function close(float $timeout = self::CLOSE_TIMEOUT_S): void
    {
        if ($this->client->isFreed()) {
            return;
        }
        $this->client->closing = true;
        try {
            $this->keepBack();
            $close = Library::ffi()->ottla_consumer_close_call($this->client->handle(), Client::milliseconds($timeout));
            $this->leave($this->client->start($close));
        } finally {
            $this->hand = null;
            if ($this->client->isOurs()) {
                $this->client->free();
            }
        }
    }

    /**
     * Which offset is meant, as C numbers it; rows have a time of their own.
     *
     * @internal
     */
    public static function place(Rows $rows, string|\DateTimeInterface $to): int
    {
        if ($to instanceof \DateTimeInterface) {
            for ($index = 0; $index < $rows->count; $index++) {
                $rows->pointer[$index]->timestamp_ms = (int) $to->format('Uv');
            }

            return self::OFFSET_TIMESTAMP;
        }

        return self::OFFSET_SPECS[$to]
            ?? throw new \InvalidArgumentException("`{$to}` is neither `earliest` nor `latest`, nor an offset or a time");
    }

    private function checked(string $function, mixed ...$arguments): void
    {
        $handle = $this->client->handle();
        Library::checked(static fn (CData $error): int => Library::ffi()->{$function}($handle, ...[...$arguments, $error]));
    }

    private function ofPartitions(string $function, array $partitions): void
    {
        $rows = Library::partitions($partitions);
        $this->checked($function, $rows->pointer, $rows->count);
    }

    /** The next records; null if none came in time. */
    private function fetched(int $max, ?float $timeout): ?RecordBatch
    {
        $deadline = Client::deadline($timeout);
        $batch = null;
        do {
            $this->tell();
            $came = $this->client->wait($deadline, function () use ($max, &$batch): bool {
                $batch ??= $this->polled($max);

                return $batch !== null || $this->client->steps !== [] || $this->woken || $this->client->closing;
            });
            if ($batch !== null) {
                $this->changed = false;

                return $batch;
            }
        } while ($came && !$this->woken && !$this->client->closing);
        $this->woken = false;

        return null;
    }

    /** What needs no waiting. Where there is nothing, an event comes when there may be something. */
    private function polled(int $max): ?RecordBatch
    {
        return Client::undisturbed(function () use ($max): ?RecordBatch {
            $handle = $this->client->handle();
            $batch = Library::made(
                'ottla_batch*',
                static fn (CData $out, CData $error): int => Library::ffi()->ottla_consumer_poll($handle, $max, 0, $out, $error),
            );

            return FFI::isNull($batch) ? null : new RecordBatch($batch);
        });
    }

    /** What a loop gets; null when the consumer is closed meanwhile. */
    private function goingOn(callable $next): mixed
    {
        try {
            return $next();
        } catch (ClosedException $error) {
            return $this->client->closing ? null : throw $error;
        }
    }

    /** Whether there are records left of those that a loop is in, and nobody has gone elsewhere since. */
    private function isInHand(): bool
    {
        if ($this->hand === null) {
            return false;
        }
        if ($this->next < count($this->hand) && $this->isStillNext($this->hand)) {
            return true;
        }
        $this->hand = null;

        return false;
    }

    private function isStillNext(RecordBatch $hand): bool
    {
        if (!$this->changed) {
            return true;
        }
        $this->changed = false;
        try {
            return $this->reached($hand->topicPartition) === $hand->nextOffset;
        } catch (OttlaException) {
            return false;
        }
    }

    /** As far as was handed out by C. */
    private function reached(TopicPartition $partition): ?int
    {
        $handle = $this->client->handle();
        $position = Library::made('int64_t', static fn (CData $out, CData $error): int => Library::ffi()->ottla_consumer_position(
            $handle,
            $partition->topic,
            $partition->partition,
            $out,
            $error,
        ))->cdata;

        return $position < 0 ? null : $position;
    }

    /** What a loop has not come to is not done. */
    private function keepBack(): void
    {
        if ($this->hand === null || $this->next >= count($this->hand)) {
            return;
        }
        try {
            $this->checked('ottla_consumer_keep_back', $this->hand->native(), $this->hand->column('q', $this->next, 0));
        } catch (OttlaException) {
            // A client that is closed has nothing to keep.
        }
    }

    /** Tells the listeners of rebalances, which wait for that. */
    private function tell(): void
    {
        $ffi = Library::ffi();
        while (($step = array_shift($this->client->steps)) !== null) {
            try {
                $kind = $ffi->ottla_rebalance_get_kind($step);
                $partitions = array_map(Results::partition(...), Library::rows('ottla_rebalance_partitions', $step));
                $this->changed = true;
                if (isset($this->listeners[$kind])) {
                    ($this->listeners[$kind])($this, $partitions);
                }
            } finally {
                $ffi->ottla_rebalance_ack($step);
            }
        }
    }

    /** Waits for a consumer to leave its group, which waits for the listeners. */
    private function leave(Call $leaving): void
    {
        $failure = null;
        while (!$leaving->done) {
            $this->client->wait(null, fn (): bool => $leaving->done || $this->client->steps !== []);
            try {
                $this->tell();
            } catch (\Throwable $thrown) {
                // The listener's; it leaves all the same.
                $failure ??= $thrown;
            }
        }
        $this->client->finish($leaving, null, 'leaving the group');
        if ($failure !== null) {
            throw $failure;
        }
    }

    /** @return list<TopicPartition> */
    private function listed(string $function): array
    {
        $handle = $this->client->handle();
        $list = Library::made(
            'ottla_partitions*',
            static fn (CData $out, CData $error): int => Library::ffi()->{$function}($handle, $out, $error),
        );
        try {
            return array_map(Results::partition(...), Library::rows('ottla_partitions_rows', $list));
        } finally {
            Library::ffi()->ottla_partitions_free($list);
        }
    }

    private function offsets(array $partitions, string|\DateTimeInterface $place): array
    {
        $rows = Library::partitions($partitions);
        $spec = self::place($rows, $place);
        $call = Library::ffi()->ottla_consumer_offsets($this->client->handle(), $spec, $rows->pointer, $rows->count);

        return array_map(static fn (TopicPartitionOffset $at): int => $at->offset, $this->client->call($call, Results::offsets(...)));
    }
}
