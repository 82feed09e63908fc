<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Consumer;
use Ottla\Producer;
use Ottla\Testing\Broker;
use Ottla\TopicPartition;

/** What the tests have in common: a broker for all of them, and names that no other has. */
abstract class TestCase
{
    private static ?Broker $broker = null;

    public function __construct(private readonly string $method)
    {
    }

    public static function stop(): void
    {
        self::$broker = null;
    }

    protected function servers(): string
    {
        return (self::$broker ??= new Broker())->bootstrapServers;
    }

    protected function name(string $stem): string
    {
        return "{$stem}-{$this->method}";
    }

    protected function producer(mixed ...$settings): Producer
    {
        return new Producer($this->servers(), ...$settings);
    }

    protected function consumer(mixed ...$settings): Consumer
    {
        return new Consumer($this->servers(), ...['start' => 'earliest', ...$settings]);
    }

    /** The partition of a topic with values "0", "1" ... in it. */
    protected function filled(string $stem, int $count): TopicPartition
    {
        // As one batch. A producer with nothing under way sends what is there: if that was not all yet, there is another topic.
        for ($attempt = 1;; $attempt++) {
            $topic = $this->name("{$stem}-{$attempt}");
            $producer = $this->producer();
            for ($number = 0; $number < $count; $number++) {
                $producer->send($topic, (string) $number, partition: 0);
            }
            $producer->flush(30);
            $batches = $producer->metrics()['batch-send-total'];
            $producer->close(30);
            if ($batches == 1) {
                return new TopicPartition($topic, 0);
            }
        }
    }

    /**
     * A program of its own, over this package, with what it prints.
     *
     * @return array{resource, resource, int} the process, its output, its id
     */
    protected function program(string $code, string ...$arguments): array
    {
        $code = 'require ' . var_export(getenv('OTTLA_AUTOLOAD'), true) . ";\n{$code}";
        $process = proc_open([PHP_BINARY, '-r', $code, $this->servers(), ...$arguments], [1 => ['pipe', 'w']], $pipes);

        return [$process, $pipes[1], proc_get_status($process)['pid']];
    }

    protected function same(mixed $expected, mixed $actual): void
    {
        if ($expected !== $actual) {
            throw new \AssertionError(sprintf("expected %s\nis       %s", var_export($expected, true), var_export($actual, true)));
        }
    }

    protected function holds(bool $condition, string $what): void
    {
        $condition || throw new \AssertionError("it does not hold that {$what}");
    }

    /**
     * @template T of \Throwable
     *
     * @param class-string<T> $class
     *
     * @return T
     */
    protected function thrown(string $class, callable $by, string $message = ''): \Throwable
    {
        try {
            $by();
        } catch (\Throwable $error) {
            $this->holds($error instanceof $class, "`{$error}` is a {$class}");
            $this->holds(str_contains($error->getMessage(), $message), "`{$error->getMessage()}` has `{$message}` in it");

            return $error;
        }
        throw new \AssertionError("nothing was thrown, where {$class} should be");
    }
}
