<?php

// The runner of PHP: the package `ottla/ottla`, as a program would use it. Its first argument is where the package is.

declare(strict_types=1);

use Ottla\Admin;
use Ottla\Consumer;
use Ottla\Delivery;
use Ottla\Exception\OttlaException;
use Ottla\NewTopic;
use Ottla\Producer;
use Ottla\Record;
use Ottla\TopicPartition;
use Ottla\TopicPartitionOffset;

require $argv[1] . '/autoload.php';

/** How long is waited where a step does not say. */
const PATIENCE_MS = 30_000;
const LOOK_INTERVAL_US = 10_000;

final class UnknownVerb extends Exception
{
}

/** A line: a verb and pairs. */
final class Step
{
    public readonly string $verb;
    /** @var array<string, string> */
    public readonly array $pairs;

    public function __construct(string $line)
    {
        $words = explode(' ', rtrim($line, "\n"));
        $this->verb = array_shift($words);
        $pairs = [];
        foreach (array_filter($words, static fn (string $word): bool => $word !== '') as $word) {
            [$name, $value] = explode('=', $word, 2);
            $pairs[rawurldecode($name)] = rawurldecode($value);
        }
        $this->pairs = $pairs;
    }

    public function text(string $name): string
    {
        return $this->pairs[$name] ?? throw new Exception("`{$this->verb}` needs `{$name}`");
    }

    public function number(string $name, ?int $default = null): ?int
    {
        return isset($this->pairs[$name]) ? (int) $this->pairs[$name] : $default;
    }

    /** @return array<string, string> */
    public function prefixed(string $prefix): array
    {
        $found = [];
        foreach ($this->pairs as $name => $value) {
            if (str_starts_with((string) $name, $prefix)) {
                $found[substr((string) $name, strlen($prefix))] = $value;
            }
        }

        return $found;
    }

    public function partition(): TopicPartition
    {
        return self::place($this->text('partition'));
    }

    /** @return list<TopicPartition|TopicPartitionOffset> */
    public function partitions(): array
    {
        return array_map(self::place(...), explode(',', $this->text('partitions')));
    }

    public function patience(): float
    {
        return $this->number('timeout_ms', PATIENCE_MS) / 1000;
    }

    /** @return list<array{string, ?string}> */
    public function headers(): array
    {
        return array_values(array_map(static function (string $header): array {
            [$name, $value] = [...explode(':', $header, 2), null];

            return [rawurldecode($name), $value === null ? null : rawurldecode($value)];
        }, $this->prefixed('header.')));
    }

    /** `orders-0`, or `orders-0@5`. */
    private static function place(string $text): TopicPartition|TopicPartitionOffset
    {
        [$place, $offset] = [...explode('@', $text), null];
        $dash = (int) strrpos($place, '-');
        [$topic, $partition] = [substr($place, 0, $dash), (int) substr($place, $dash + 1)];

        return $offset === null ? new TopicPartition($topic, $partition) : new TopicPartitionOffset($topic, $partition, (int) $offset);
    }
}

/** @param array<string, null|bool|int|string> $pairs */
function line(string $word, array $pairs): string
{
    foreach ($pairs as $name => $value) {
        if ($value !== null) {
            $word .= " {$name}=" . rawurlencode(is_bool($value) ? json_encode($value) : (string) $value);
        }
    }

    return $word;
}

function told(Record $record): string
{
    $pairs = [];
    foreach (['topic', 'partition', 'offset', 'timestamp', 'key', 'value'] as $name) {
        $pairs[$name] = $record->{$name};
    }
    foreach ($record->headers as $number => [$name, $value]) {
        $pairs["header.{$number}"] = rawurlencode($name) . ($value === null ? '' : ':' . rawurlencode($value));
    }

    return line('record', $pairs);
}

function refused(Throwable $error): string
{
    $pairs = match (true) {
        $error instanceof OttlaException => [
            'name' => $error->name,
            'code' => $error->getCode(),
            'retriable' => $error->retriable,
            'fatal' => $error->fatal,
        ],
        $error instanceof UnknownVerb => ['name' => 'UNKNOWN_VERB'],
        default => ['name' => 'RUNNER'],
    };

    return line('error', [...$pairs, 'message' => $error->getMessage()]);
}

function untilFound(float $patience, callable $look): mixed
{
    $deadline = hrtime(true) / 1e9 + $patience;
    while (($found = $look()) === null) {
        if (hrtime(true) / 1e9 >= $deadline) {
            throw new Exception('it did not come about');
        }
        usleep(LOOK_INTERVAL_US);
    }

    return $found;
}

/** @param list<Delivery> $deliveries */
function outcomes(array $deliveries): array
{
    $errors = array_values(array_filter(array_map(static fn (Delivery $delivery): ?OttlaException => $delivery->error(), $deliveries)));

    return ['acknowledged' => count($deliveries) - count($errors), 'failed' => count($errors), 'error' => ($errors[0] ?? null)?->name];
}

/** What does the steps. */
final class Runner
{
    /** @var array<string, Admin|Consumer|Producer> */
    private array $clients = [];
    /** @var array<string, list<Delivery>> */
    private array $later = [];

    /** @return list<string> */
    public function step(Step $step): array
    {
        $name = $step->text('client');
        $settings = $step->prefixed('set.');
        $made = match ($step->verb) {
            'producer' => new Producer($settings),
            'consumer' => new Consumer($settings),
            'admin' => new Admin($settings),
            default => null,
        };
        if ($made !== null) {
            $this->clients[$name] = $made;

            return [line('ok', [])];
        }
        $client = $this->clients[$name];
        if ($client instanceof Consumer && $step->verb === 'poll') {
            return $this->poll($client, $step);
        }

        return [line('ok', match (true) {
            $client instanceof Producer => $this->produce($client, $name, $step),
            $client instanceof Consumer => $this->consume($client, $step),
            default => $this->administer($client, $step),
        } ?? [])];
    }

    private function produce(Producer $producer, string $name, Step $step): ?array
    {
        switch ($step->verb) {
            case 'send':
                $written = $this->sent($producer, $step)->wait();

                return ['partition' => $written->partition, 'offset' => $written->offset, 'timestamp' => $written->timestamp];
            case 'send_later':
                $this->later[$name][] = $this->sent($producer, $step);

                return null;
            case 'send_many':
                return outcomes($this->many($producer, $step));
            case 'outcomes':
                $later = $this->later[$name] ?? [];
                $this->later[$name] = [];

                return outcomes($later);
            case 'flush':
                $producer->flush($step->patience());

                return null;
            case 'close':
                $producer->close($step->patience());

                return null;
        }
        throw new UnknownVerb("there is no verb `{$step->verb}`");
    }

    private function sent(Producer $producer, Step $step): Delivery
    {
        return $producer->send(
            $step->text('topic'),
            $step->pairs['value'] ?? null,
            key: $step->pairs['key'] ?? null,
            headers: $step->headers(),
            partition: $step->number('partition'),
            timestamp: $step->number('timestamp'),
        );
    }

    /** @return list<Delivery> */
    private function many(Producer $producer, Step $step): array
    {
        [$count, $keys, $bytes] = [$step->number('count', 0), $step->number('keys', 0), $step->number('value_bytes', 0)];
        $deliveries = [];
        for ($number = 0; $number < $count; $number++) {
            $deliveries[] = $producer->send(
                $step->text('topic'),
                str_pad(sprintf('%010d', $number), $bytes, 'x'),
                key: $keys === 0 ? null : 'key-' . $number % $keys,
                partition: $step->number('partition'),
            );
        }

        return $deliveries;
    }

    /** @return list<string> */
    private function poll(Consumer $consumer, Step $step): array
    {
        $count = $step->number('count');
        $deadline = hrtime(true) / 1e9 + $step->patience();
        $lines = [];
        while ($count === null || count($lines) < $count) {
            $record = $consumer->poll(max(0.0, $deadline - hrtime(true) / 1e9));
            if ($record === null) {
                break;
            }
            $lines[] = told($record);
        }
        $lines[] = line('ok', ['count' => count($lines)]);

        return $lines;
    }

    private function consume(Consumer $consumer, Step $step): ?array
    {
        switch ($step->verb) {
            case 'assign':
                $consumer->assign($step->partitions());

                return null;
            case 'subscribe':
                $consumer->subscribe(explode(',', $step->text('topics')));

                return null;
            case 'subscribe_pattern':
                $consumer->subscribePattern($step->text('pattern'));

                return null;
            case 'unsubscribe':
                $consumer->unsubscribe();

                return null;
            case 'seek':
                $offset = $step->text('offset');
                $consumer->seek($step->partition(), ctype_digit($offset) ? (int) $offset : $offset);

                return null;
            case 'pause':
                $consumer->pause($step->partitions());

                return null;
            case 'resume':
                $consumer->resume($step->partitions());

                return null;
            case 'position':
                return ['offset' => untilFound($step->patience(), static fn (): ?int => $consumer->position($step->partition()))];
            case 'commit':
                $offset = $step->number('offset');
                $at = $offset === null ? null : $step->partition();
                $consumer->commit($at === null ? null : [new TopicPartitionOffset($at->topic, $at->partition, $offset)]);

                return null;
            case 'committed':
                $committed = $consumer->committed([$step->partition()]);

                return ['offset' => ($committed[$step->text('partition')] ?? null)?->offset];
            case 'await_assignment':
                return ['partitions' => untilFound($step->patience(), static function () use ($consumer, $step): ?string {
                    $names = array_map('strval', $consumer->assignment());
                    sort($names);

                    return count($names) === $step->number('count', 0) ? implode(',', $names) : null;
                })];
            case 'offset_for_time':
                $time = DateTimeImmutable::createFromFormat('U.v', sprintf('%.3F', $step->number('timestamp') / 1000));

                return ['offset' => $consumer->offsetsForTime([$step->partition()], $time)[$step->text('partition')] ?? null];
            case 'watermarks':
                [$name, $partition] = [$step->text('partition'), $step->partition()];

                return ['low' => $consumer->beginningOffsets([$partition])[$name], 'high' => $consumer->endOffsets([$partition])[$name]];
            case 'close':
                $consumer->close($step->patience());

                return null;
        }
        throw new UnknownVerb("there is no verb `{$step->verb}`");
    }

    private function administer(Admin $admin, Step $step): ?array
    {
        switch ($step->verb) {
            case 'create_topic':
                $topic = new NewTopic($step->text('topic'), $step->number('partitions', 1), config: $step->prefixed('config.'));
                $admin->createTopics([$topic]);

                return null;
            case 'delete_topic':
                $admin->deleteTopics([$step->text('topic')]);

                return null;
            case 'describe_topic':
                $topic = $step->text('topic');

                return ['partitions' => count($admin->describeTopics([$topic])[$topic]->partitions)];
            case 'list_topics':
                $topics = $admin->listTopics();
                sort($topics);

                return ['topics' => implode(',', $topics)];
            case 'create_partitions':
                $admin->createPartitions([$step->text('topic') => $step->number('partitions')]);

                return null;
            case 'topic_config':
                return ['value' => $admin->topicConfig($step->text('topic'))[$step->text('key')]->value];
            case 'alter_topic_config':
                $admin->alterTopicConfig($step->text('topic'), [$step->text('key') => $step->pairs['value'] ?? null]);

                return null;
            case 'list_groups':
                $groups = array_column($admin->listGroups(), 'groupId');
                sort($groups);

                return ['groups' => implode(',', $groups)];
            case 'describe_group':
                $described = $admin->describeGroups([$step->text('group')])[$step->text('group')];

                return ['state' => $described->state, 'members' => count($described->members)];
            case 'delete_group':
                $admin->deleteGroups([$step->text('group')]);

                return null;
        }
        throw new UnknownVerb("there is no verb `{$step->verb}`");
    }
}

$runner = new Runner();
while (($text = fgets(STDIN)) !== false) {
    try {
        $answer = $runner->step(new Step($text));
    } catch (Throwable $error) {
        $answer = [refused($error)];
    }
    echo implode("\n", $answer), "\n";
    flush();
}
