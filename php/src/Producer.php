<?php

declare(strict_types=1);

namespace Ottla;

use FFI;
use FFI\CData;
use Ottla\Exception\ClosedException;
use Ottla\Exception\ForkedException;
use Ottla\Exception\OttlaException;
use Ottla\Native\Client;
use Ottla\Native\Library;

/**
 * Sends records. One is enough for a program.
 *
 *     $producer = new Ottla\Producer('localhost:9092');
 *     $producer->send('orders', 'two apples', key: '42')->wait();
 *
 * What was sent and not waited for is flushed when the producer goes, or the program ends.
 */
final class Producer
{
    /** Longest that a producer's end waits for records that were not flushed. */
    public const FLUSH_AT_EXIT_S = 5.0;
    /** After so many records deliveries are looked for, though nobody waits for one. */
    private const LOOK_EVERY = 512;
    /** What the memory that records are handed over in has at least; it grows to the largest record. */
    private const HANDOVER_BYTES = 16 * 1024;
    /** A record of C's: size, partition, timestamp, key, value, headers, their number, token. */
    private const RECORD = 'LlqQQQQQQQ';
    private const RECORD_BYTES = 72;
    private const HEADER_BYTES = 32;
    private const QUEUE_FULL = -3;

    /** @var null|\WeakMap<Producer, bool> Those that there are. */
    private static ?\WeakMap $all = null;

    private readonly Client $client;
    /** @var array<string, CData> */
    private array $topics = [];
    private int $handoverBytes = 0;
    private CData $handover;
    private CData $record;
    private int $address = 0;
    /** What was sent could not be flushed in time when the program ended; its end does not wait for it again. */
    private bool $isGivenUp = false;

    /**
     * @param null|array<string, mixed>|string $config where the brokers are, or Kafka's keys, as they are or in snake case
     * @param mixed ...$settings the same, by name; `token_provider` gives tokens to log in with: a callable, or an object with a
     *                           method `token`, for a string or a {@see Token}. It is asked while the program waits for the client
     *
     * @throws Exception\ConfigException a setting is wrong
     */
    public function __construct(array|string|null $config = null, mixed ...$settings)
    {
        $this->client = new Client('producer', Client::settings($config, $settings));
        $this->room(self::HANDOVER_BYTES);
        self::watch($this);
    }

    public function __destruct()
    {
        if (isset($this->client)) {
            $this->flushAtExit();
            foreach ($this->topics as $topic) {
                Library::ffi()->ottla_topic_free($topic);
            }
        }
    }

    /**
     * Sends a record; it is copied when this returns. Where there is no room in `buffer.memory` it waits, at most `max.block.ms`.
     *
     * @param array<string, ?string>|list<array{string, ?string}> $headers by name, or as pairs
     * @param ?int $partition null leaves it to the partitioner
     * @param null|\DateTimeInterface|int $timestamp milliseconds since the epoch, or a time; null for now
     *
     * @throws OttlaException it cannot be taken
     */
    public function send(
        string $topic,
        ?string $value = null,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null,
        \DateTimeInterface|int|null $timestamp = null,
    ): Delivery {
        $of = $this->topics[$topic] ?? $this->topic($topic);
        $parts = self::parts($value, $key, $headers);
        if ($timestamp instanceof \DateTimeInterface) {
            $timestamp = (int) $timestamp->format('Uv');
        }
        $delivery = new Delivery($this->client, $topic);
        while (true) {
            $token = $this->client->token();
            if ($token % self::LOOK_EVERY === 0) {
                $this->client->drain(0);
            }
            $this->place($parts, $partition ?? -1, $timestamp ?? -1, $token);
            $this->client->deliveries[$token] = $delivery;
            $status = Library::ffi()->ottla_produce($this->client->handle(), $of, $this->record);
            if ($status === 0) {
                return $delivery;
            }
            unset($this->client->deliveries[$token]);
            if ($status !== self::QUEUE_FULL) {
                $this->refused($of, $status);
            }
            $bytes = array_sum(array_map(static fn (?string $part): int => strlen($part ?? ''), $parts));
            $this->client->call(Library::ffi()->ottla_producer_ready($this->client->handle(), $of, $bytes));
        }
    }

    /**
     * Sends all that was taken without further linger, and waits until each of it is acknowledged or has failed.
     *
     * @param ?float $timeout seconds; null for as long as it takes
     */
    public function flush(?float $timeout = null): void
    {
        $call = Library::ffi()->ottla_producer_flush_call($this->client->handle());
        $this->client->call($call, timeout: $timeout, what: 'flushing');
    }

    /** How many partitions a topic has; waits for it to be known. */
    public function partitionCount(string $topic): int
    {
        $of = $this->topics[$topic] ?? $this->topic($topic);
        $call = Library::ffi()->ottla_producer_partition_count($this->client->handle(), $of);

        return $this->client->call($call, static fn (CData $result): int => Library::ffi()->ottla_result_number($result));
    }

    /**
     * What it has counted, by name; null where there is nothing yet.
     *
     * @return array<string, ?float>
     */
    public function metrics(): array
    {
        $handle = $this->client->handle();

        return Client::metrics(static fn (?CData $places, int $room): int => Library::ffi()->ottla_producer_metrics($handle, $places, $room));
    }

    /**
     * Sends what was taken, waits for it, and ends. Closing again does nothing.
     *
     * @param ?float $timeout seconds, after which what is not acknowledged fails, and this does, too; null for as long as it takes
     */
    public function close(?float $timeout = null): void
    {
        if ($this->client->isFreed()) {
            return;
        }
        try {
            $this->client->call(Library::ffi()->ottla_producer_close_call($this->client->handle(), Client::milliseconds($timeout)));
        } finally {
            $this->client->drain(0);
            if ($this->client->isOurs()) {
                $this->client->free();
            }
        }
    }

    private static function watch(self $producer): void
    {
        if (self::$all === null) {
            self::$all = new \WeakMap();
            // Destructors are not called behind a fatal error; this is.
            register_shutdown_function(static function (): void {
                foreach (self::$all as $open => $_) {
                    $open->flushAtExit();
                }
            });
        }
        self::$all[$producer] = true;
    }

    private function flushAtExit(): void
    {
        if ($this->isGivenUp || $this->client->isFreed() || !$this->client->isOurs() || $this->client->deliveries === []) {
            return;
        }
        try {
            $this->flush(self::FLUSH_AT_EXIT_S);
        } catch (ClosedException|ForkedException) {
            // It was closed in order; or it is a parent's, who flushes it.
        } catch (OttlaException $error) {
            $this->isGivenUp = true;
            error_log("ottla: records were not delivered when their producer ended: {$error->getMessage()}");
        }
    }

    private function topic(string $name): CData
    {
        $topic = Library::ffi()->ottla_topic_new($name);

        return $this->topics[$name] = $topic ?? throw new \InvalidArgumentException('the name of a topic is UTF-8');
    }

    /**
     * Its key and value, and then names and values of its headers.
     *
     * @return list<?string>
     */
    private static function parts(?string $value, ?string $key, array $headers): array
    {
        $parts = [$key, $value];
        foreach ($headers as $name => $content) {
            [$name, $content] = is_array($content) ? $content : [(string) $name, $content];
            if (!is_string($name) || !($content === null || is_string($content))) {
                throw new \TypeError('the names of headers are strings, and their values strings or null');
            }
            array_push($parts, $name, $content);
        }

        return $parts;
    }

    /**
     * Hands the record over: a record of C's, what it points to behind it, in one piece.
     *
     * @param list<?string> $parts
     */
    private function place(array $parts, int $partition, int $timestamp, int $token): void
    {
        $headers = intdiv(count($parts), 2) - 1;
        $table = self::RECORD_BYTES + $headers * self::HEADER_BYTES;
        $content = implode('', $parts);
        $this->room($table + strlen($content) + 1);
        $at = $this->address + $table;
        $slices = [];
        foreach ($parts as $part) {
            $length = strlen($part ?? '');
            // What is empty is not null.
            array_push($slices, $part === null ? 0 : $at, $length);
            $at += $length;
        }
        [$key, $keyBytes, $value, $valueBytes] = $slices;
        $headersAt = $headers === 0 ? 0 : $this->address + self::RECORD_BYTES;
        $packed = pack(
            self::RECORD,
            self::RECORD_BYTES,
            $partition,
            $timestamp,
            $key,
            $keyBytes,
            $value,
            $valueBytes,
            $headersAt,
            $headers,
            $token,
        );
        if ($headers > 0) {
            $packed .= pack('Q*', ...array_slice($slices, 4));
        }
        $packed .= $content;
        FFI::memcpy($this->handover, $packed, strlen($packed));
    }

    /** Has room for so many bytes to be handed over. */
    private function room(int $bytes): void
    {
        if ($this->handoverBytes >= $bytes) {
            return;
        }
        $this->handoverBytes = max($bytes, 2 * $this->handoverBytes);
        $this->handover = Library::ffi()->new("uint64_t[" . (intdiv($this->handoverBytes, 8) + 1) . ']');
        $this->record = Library::ffi()->cast('ottla_record*', FFI::addr($this->handover));
        $this->address = Library::address($this->record);
    }

    /** Throws what is wrong with the record that was placed, in the library's words. */
    private function refused(CData $topic, int $status): never
    {
        $ffi = Library::ffi();
        // It has no token: were it taken now, nobody would ask for it.
        $this->record->token = 0;
        Library::checked(fn (CData $error): int => $ffi->ottla_produce_wait($this->client->handle(), $topic, $this->record, 0, $error));
        throw OttlaException::of($status);
    }
}
