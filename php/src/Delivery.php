<?php

declare(strict_types=1);

namespace Ottla;

use Ottla\Exception\OttlaException;
use Ottla\Native\Client;

/** What becomes of a record that was sent. */
final class Delivery
{
    private bool $done = false;
    private ?OttlaException $error = null;
    private ?RecordMetadata $metadata = null;

    /** @internal */
    public function __construct(private readonly Client $client, private readonly string $topic)
    {
    }

    /** Whether it was written, or has failed. */
    public function isDone(): bool
    {
        if (!$this->done) {
            $this->client->drain(0);
        }

        return $this->done;
    }

    /**
     * Waits until the record is written, and says where.
     *
     * @param ?float $timeout seconds; null for as long as it takes, which `delivery.timeout.ms` limits
     *
     * @throws OttlaException why it was not written; a TimeoutException if that is not known in time
     */
    public function wait(?float $timeout = null): RecordMetadata
    {
        if (!$this->done && !$this->client->wait(Client::deadline($timeout), fn (): bool => $this->done)) {
            throw OttlaException::late('the record was not acknowledged in time');
        }

        return $this->metadata ?? throw $this->error;
    }

    /** As `wait`, but what went wrong is given; null if nothing did. */
    public function error(?float $timeout = null): ?OttlaException
    {
        try {
            $this->wait($timeout);
        } catch (OttlaException $error) {
            return $this->done ? $error : throw $error;
        }

        return null;
    }

    /** @internal */
    public function settle(int $partition, int $offset, int $timestamp, ?OttlaException $error): void
    {
        $this->error = $error;
        $this->metadata = $error === null
            ? new RecordMetadata($this->topic, $partition, $offset < 0 ? null : $offset, $timestamp)
            : null;
        $this->done = true;
    }
}
