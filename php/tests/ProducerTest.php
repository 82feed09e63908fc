<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Exception\ClosedException;
use Ottla\Exception\ConfigException;
use Ottla\Exception\RecordTooLargeException;
use Ottla\Exception\TimeoutException;
use Ottla\Producer;
use Ottla\Testing\Broker;
use Ottla\TopicPartition;

final class ProducerTest extends TestCase
{
    public function testAllFieldsComeBackAsTheyWereSent(): void
    {
        $topic = $this->name('fields');
        $time = new \DateTimeImmutable('2023-11-14T22:13:20.123Z');
        $sent = [
            [null, null, []],
            ['', '', [['', '']]],
            ['schlüssel', 'größe ☃', [['ä', 'ö'], ['ä', 'ü'], ['none', null]]],
            ["\x00\xff", str_repeat(implode('', array_map('chr', range(0, 255))), 300), [['bytes', "\x00\x80"]]],
        ];
        $producer = $this->producer();
        foreach ($sent as $offset => [$key, $value, $headers]) {
            $written = $producer->send($topic, $value, key: $key, headers: $headers, partition: 0, timestamp: $time)->wait(30);
            $this->same([$topic, 0, $offset], [$written->topic, $written->partition, $written->offset]);
        }
        $consumer = $this->consumer();
        $consumer->assign([new TopicPartition($topic, 0)]);
        foreach ($sent as $offset => [$key, $value, $headers]) {
            $record = $consumer->poll(30);
            $this->same([$topic, 0, $offset, 1_700_000_000_123], [$record->topic, $record->partition, $record->offset, $record->timestamp]);
            $this->same([$key, $value, $headers], [$record->key, $record->value, $record->headers]);
        }
    }

    public function testHeadersMayBeByName(): void
    {
        $topic = $this->name('named');
        $this->producer()->send($topic, 'v', headers: ['a' => '1', 'b' => null])->wait(30);
        $consumer = $this->consumer();
        $consumer->assign([new TopicPartition($topic, 0)]);
        $this->same([['a', '1'], ['b', null]], $consumer->poll(30)->headers);
        $this->thrown(\TypeError::class, fn () => $this->producer()->send($topic, headers: ['a' => 1]));
    }

    public function testWhatIsTooLargeIsRefusedAndSaysWhy(): void
    {
        $producer = $this->producer(max_request_size: 10_000);
        $send = fn () => $producer->send($this->name('large'), str_repeat('x', 20_000))->wait(30);
        $error = $this->thrown(RecordTooLargeException::class, $send, 'max.request.size');
        $this->same(['RECORD_TOO_LARGE', -12, false, false], [$error->name, $error->getCode(), $error->retriable, $error->fatal]);
        $this->holds(str_contains((string) $error->hint, 'max.request.size'), 'the hint names the setting');
    }

    public function testAWrongSettingIsRefusedWithASuggestion(): void
    {
        $error = $this->thrown(ConfigException::class, fn () => $this->producer(linger_sm: 5), 'linger_ms');
        $this->same(true, $error->fatal);
    }

    public function testSettingsHaveKafkasNamesOrPhps(): void
    {
        $settings = ['bootstrap.servers' => [$this->servers()], 'linger.ms' => 1, 'acks' => null];
        $producer = new Producer($settings, compression_type: 'zstd', enable_idempotence: true);
        $this->same(0, $producer->send($this->name('names'), 'v')->wait(30)->offset);
        $this->same(1, $producer->partitionCount($this->name('names')));
        $this->holds(count($producer->metrics()) > 0, 'there are metrics');
    }

    public function testClosingSendsWhatWasTakenAndUsingItThenFails(): void
    {
        $producer = $this->producer(linger_ms: 5000);
        $sent = $producer->send($this->name('closed'), 'v');
        $producer->close();
        $this->same([true, 0], [$sent->isDone(), $sent->wait(0)->offset]);
        $producer->close();
        foreach ([fn () => $producer->send('t'), $producer->flush(...), $producer->metrics(...)] as $use) {
            $this->thrown(ClosedException::class, $use);
        }
    }

    public function testFlushingDoesNotWaitForLinger(): void
    {
        $producer = $this->producer(linger_ms: 30_000);
        $sent = $producer->send($this->name('flush'), 'v');
        $producer->flush(20);
        $this->same(true, $sent->isDone());
        $this->same(null, $sent->error());
    }

    public function testABrokerThatGoesAwayFailsWhatWasSent(): void
    {
        $broker = new Broker();
        $producer = new Producer($broker->bootstrapServers, delivery_timeout_ms: 1_500, request_timeout_ms: 1_000, linger_ms: 0);
        $producer->send('orders', 'first')->wait(30);
        $broker->stop();
        $second = $producer->send('orders', 'second');
        // A wait has a limit, and that is not the record's.
        $error = $this->thrown(TimeoutException::class, fn () => $second->wait(0.05));
        $this->same(['TIMEOUT', true, false], [$error->name, $error->retriable, $second->isDone()]);
        $this->holds(str_contains($second->error(30)->getMessage(), 'orders'), 'the error names the topic');
        $producer->close(1);
    }
}
