<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Admin;
use Ottla\Consumer;
use Ottla\Exception\ClosedException;
use Ottla\Exception\ConfigException;
use Ottla\Exception\InvalidArgException;
use Ottla\NewTopic;
use Ottla\TopicPartition;
use Ottla\TopicPartitionOffset;

final class ConsumerTest extends TestCase
{
    public function testALoopCommitsWhatItHasGonePast(): void
    {
        $at = $this->filled('loop', 10);
        $consumer = $this->consumer(group: $this->name('group'), topics: [$at->topic]);
        foreach ($consumer as $record) {
            if ($record->offset === 3) {
                break;
            }
        }
        $consumer->close();
        $this->same(4, $this->committed($at));
    }

    public function testAnExceptionLeavesALoopWithWhatItHasNotComeTo(): void
    {
        $at = $this->filled('thrown', 10);
        $consumer = $this->consumer(group: $this->name('group'), topics: [$at->topic]);
        $this->thrown(\DivisionByZeroError::class, function () use ($consumer): void {
            foreach ($consumer as $record) {
                intdiv(1, 3 - $record->offset);
            }
        });
        $this->same('4', $consumer->poll(30)->value);
        $consumer->close();
        $this->same(5, $this->committed($at));
    }

    public function testCommitsAreOfRecordsBatchesAndOffsets(): void
    {
        $at = $this->filled('commits', 10);
        $consumer = $this->consumer(group: $this->name('group'), topics: [$at->topic], enable_auto_commit: false);
        $committed = static fn (): TopicPartitionOffset => $consumer->committed([$at])[(string) $at];
        $consumer->commit($consumer->poll(30));
        $this->same(1, $committed()->offset);
        $consumer->poll(30);
        $consumer->commit();
        $this->same(2, $committed()->offset);
        $batch = $consumer->nextBatch(timeout: 30);
        $this->same(range(2, 9), $batch->offsets());
        $consumer->commit($batch);
        $this->same(10, $committed()->offset);
        $consumer->commit([new TopicPartitionOffset($at->topic, 0, 5, 'half')]);
        $this->same([5, 'half'], [$committed()->offset, $committed()->metadata]);
    }

    public function testABatchIsASequenceWithColumnsAndRecordsOutliveIt(): void
    {
        $at = $this->filled('batch', 5);
        $consumer = $this->consumer();
        $consumer->assign([new TopicPartitionOffset($at->topic, 0, 1)]);
        $batch = $consumer->nextBatch(timeout: 30);
        $this->same(null, $consumer->nextBatch(timeout: 0.05));
        $consumer->close();
        unset($consumer);
        $this->same([['1', '2', '3', '4'], [null, null, null, null], [1, 2, 3, 4]], [$batch->values(), $batch->keys(), $batch->offsets()]);
        $this->same([4, 5, 5], [count($batch), $batch->nextOffset, $batch->highWatermark]);
        $this->thrown(\OutOfBoundsException::class, fn () => $batch[4]);
        $kept = $batch[3];
        unset($batch);
        gc_collect_cycles();
        $this->same(['4', [], 4], [$kept->value, $kept->headers, $kept->offset]);
        $this->same([true, false, false], [isset($kept->value), isset($kept->key), isset($kept->nothing)]);
    }

    public function testReadingGoesOnWhereItIsSought(): void
    {
        $at = $this->filled('sought', 10);
        $consumer = $this->consumer();
        $consumer->assign([$at]);
        $this->same(['0', 1], [$consumer->poll(30)->value, $consumer->position($at)]);
        $consumer->seek($at, 7);
        $this->same('7', $consumer->poll(30)->value);
        $consumer->seek($at, 'earliest');
        $this->same('0', $consumer->poll(30)->value);
        $consumer->seek($at, new \DateTimeImmutable('@0'));
        $this->same('0', $consumer->poll(30)->value);
        $consumer->seek($at, 'latest');
        $this->same(null, $consumer->poll(0.2));
        $this->same([(string) $at => 10], $consumer->endOffsets([$at]));
        $this->same([(string) $at => 0], $consumer->offsetsForTime([$at], new \DateTimeImmutable('@0')));
        $this->thrown(\InvalidArgumentException::class, fn () => $consumer->seek($at, 'somewhere'));
    }

    public function testAPartitionThatIsHeldGivesNothing(): void
    {
        $at = $this->filled('held', 3);
        $consumer = $this->consumer();
        $consumer->assign([$at]);
        $consumer->pause([$at]);
        $this->same([(string) $at], array_map('strval', $consumer->paused()));
        $this->same(null, $consumer->poll(0.2));
        $consumer->resume([$at]);
        $this->same('0', $consumer->poll(30)->value);
    }

    public function testRebalancesAreToldWhereRecordsAreAskedFor(): void
    {
        $at = $this->filled('rebalances', 1);
        $told = [];
        $tell = static function (string $kind) use (&$told): \Closure {
            return static function (Consumer $_, array $partitions) use ($kind, &$told): void {
                $told[] = [$kind, array_map('strval', $partitions)];
            };
        };
        $consumer = $this->consumer(
            group: $this->name('group'),
            topics: [$at->topic],
            onAssigned: $tell('assigned'),
            onRevoked: $tell('revoked'),
        );
        $this->same('0', $consumer->poll(30)->value);
        $consumer->close();
        $this->same([['assigned', [(string) $at]], ['revoked', [(string) $at]]], $told);
    }

    public function testAListenerThatThrowsDoesNotHoldTheGroup(): void
    {
        $at = $this->filled('listener', 1);
        $consumer = $this->consumer(
            group: $this->name('group'),
            topics: [$at->topic],
            onAssigned: static fn () => throw new \DomainException('assigned'),
        );
        $this->thrown(\DomainException::class, static fn () => $consumer->poll(30), 'assigned');
        $this->same('0', $consumer->poll(30)->value);
        $consumer->close();
    }

    public function testAClosedOneSaysSo(): void
    {
        $at = $this->filled('closed', 1);
        $consumer = $this->consumer();
        $consumer->assign([$at]);
        foreach ($consumer as $record) {
            $consumer->close();
        }
        $this->same('0', $record->value);
        $consumer->close();
        $this->thrown(ClosedException::class, fn () => $consumer->poll(1));
        $this->thrown(ClosedException::class, fn () => $consumer->assignment());
    }

    public function testTwoMembersShareThePartitions(): void
    {
        $topic = $this->name('shared');
        (new Admin($this->servers()))->createTopics([new NewTopic($topic, partitions: 2)]);
        $members = [];
        $deadline = hrtime(true) / 1e9 + 60;
        for ($number = 0; $number < 2; $number++) {
            $members[] = $this->consumer(group: $this->name('group'), topics: [$topic]);
        }
        do {
            $counts = array_map(static function (Consumer $member): int {
                $member->poll(0.05);

                return count($member->assignment());
            }, $members);
        } while ($counts !== [1, 1] && hrtime(true) / 1e9 < $deadline);
        $this->same([1, 1], $counts);
    }

    public function testAThousandAreOpenedAndClosed(): void
    {
        $at = $this->filled('cycles', 1);
        $count = (int) (getenv('OTTLA_TEST_CYCLES') ?: 1000);
        for ($cycle = 0; $cycle < $count; $cycle++) {
            $consumer = $this->consumer();
            $consumer->assign([$at]);
            $producer = $this->producer();
            if ($cycle % 50 === 0) {
                $this->same('0', $consumer->poll(30)->value);
                $producer->send($at->topic, 'v');
            }
            // Every other is but forgotten.
            if ($cycle % 2 === 0) {
                $consumer->close();
                $producer->close();
            }
            unset($consumer, $producer);
            if ($cycle === 20) {
                [$files, $bytes] = [self::files(), memory_get_usage()];
            }
        }
        $this->holds(self::files() <= $files + 20, 'no files are left open');
        $this->holds(memory_get_usage() < $bytes + 1024 * 1024, 'no memory is held');
    }

    public function testWhatMakesNoSenseIsRefused(): void
    {
        $consumer = $this->consumer();
        $this->thrown(ConfigException::class, fn () => $consumer->subscribe([$this->name('no-group')]), 'group.id');
        $this->thrown(InvalidArgException::class, fn () => $consumer->seek(new TopicPartition('orders', 0), 0), 'orders-0');
        $this->thrown(\InvalidArgumentException::class, fn () => $consumer->assign([new TopicPartition("a\0b", 0)]));
    }

    private function committed(TopicPartition $at): int
    {
        return (new Consumer($this->servers(), group: $this->name('group')))->committed([$at])[(string) $at]->offset;
    }

    private static function files(): int
    {
        return count(scandir('/proc/self/fd'));
    }
}
