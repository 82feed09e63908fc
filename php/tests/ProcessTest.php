<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Exception\ForkedException;
use Ottla\Producer;
use Ottla\TopicPartition;

/** What happens to the process that clients live in. */
final class ProcessTest extends TestCase
{
    /** Longest from a signal to the end of a wait. */
    private const INTERRUPTED_S = 0.1;
    /** What memory may grow by while the second half of many records is sent, or read. */
    private const GROWTH_BYTES_MAX = 32 * 1024 * 1024;

    public function testTheProgramsEndSendsWhatWasTaken(): void
    {
        $ends = ['' => 0, 'exit(3);' => 3, 'nothing_that_there_is();' => 255];
        foreach ($ends as $end => $status) {
            $topic = $this->name('exit-' . $status);
            [$process, $output] = $this->program("ini_set('display_errors', 'stderr'); ini_set('error_log', '/dev/null');
                \$producer = new Ottla\\Producer(\$argv[1], linger_ms: 3000);
                \$producer->send(\$argv[2], 'v');
                {$end}", $topic);
            stream_get_contents($output);
            $this->same($status, proc_close($process));
            $consumer = $this->consumer();
            $consumer->assign([new TopicPartition($topic, 0)]);
            $this->same('v', $consumer->poll(30)->value);
        }
    }

    public function testASignalsHandlerEndsAWaitAtOnceAndNothingIsLost(): void
    {
        $at = $this->filled('signal', 1);
        [$process, $output, $id] = $this->program('
            final class Interrupted extends Exception {}
            pcntl_async_signals(true);
            pcntl_signal(SIGINT, static fn () => throw new Interrupted());
            $consumer = new Ottla\Consumer($argv[1], start: "earliest");
            $consumer->assign([new Ottla\TopicPartition($argv[2], 0)]);
            $consumer->poll(30);
            echo "waiting\n";
            try {
                $consumer->poll();
            } catch (Interrupted) {
                echo hrtime(true), "\n";
            }
            (new Ottla\Producer($argv[1]))->send($argv[2], "after", partition: 0)->wait(30);
            echo $consumer->poll(30)->value, "\n";', $at->topic);
        $this->same("waiting\n", fgets($output));
        usleep(200_000);
        $sent = hrtime(true);
        posix_kill($id, SIGINT);
        $this->holds(((int) fgets($output) - $sent) / 1e9 < self::INTERRUPTED_S, 'the wait ended at once');
        $this->same("after\n", fgets($output));
        $this->same(0, proc_close($process));
    }

    public function testCtrlCEndsAProgramThatWaits(): void
    {
        $at = $this->filled('ctrl-c', 1);
        [$process, $output, $id] = $this->program('
            $consumer = new Ottla\Consumer($argv[1], start: "earliest");
            $consumer->assign([new Ottla\TopicPartition($argv[2], 0)]);
            foreach ($consumer as $record) {
                echo "read\n";
            }', $at->topic);
        $this->same("read\n", fgets($output));
        posix_kill($id, SIGINT);
        $began = hrtime(true);
        stream_get_contents($output);
        $this->holds((hrtime(true) - $began) / 1e9 < 1, 'the program ended');
        proc_close($process);
    }

    public function testAForkSaysSoAndMakesClientsOfItsOwn(): void
    {
        $topic = $this->name('fork');
        $producer = $this->producer();
        $producer->send($topic, 'parent', partition: 0)->wait(30);
        [$reading, $writing] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $child = pcntl_fork();
        if ($child === 0) {
            $told = [];
            foreach ([fn () => $producer->send($topic, 'v'), $producer->flush(...), $producer->close(...)] as $use) {
                try {
                    $use();
                } catch (\Throwable $error) {
                    $told[] = $error::class;
                }
            }
            $own = new Producer($this->servers());
            $told[] = $own->send($topic, 'child', partition: 0)->wait(30)->offset;
            unset($own);
            fwrite($writing, serialize($told));
            fclose($writing);
            // The parent's tests are not run here again.
            posix_kill((int) getmypid(), SIGKILL);
        }
        fclose($writing);
        $told = unserialize((string) stream_get_contents($reading));
        pcntl_waitpid($child, $status);
        $this->same([ForkedException::class, ForkedException::class, ForkedException::class, 1], $told);
        $this->same(2, $producer->send($topic, 'parent', partition: 0)->wait(30)->offset);
    }

    public function testAMillionRecordsNeedNoMoreMemory(): void
    {
        $count = (int) (getenv('OTTLA_RECORDS') ?: 100_000);
        $topic = $this->name('endurance');
        $value = str_repeat('x', 100);
        $producer = $this->producer();
        $this->flat($count, static function () use ($producer, $topic, $value): int {
            $producer->send($topic, $value, partition: 0);

            return 1;
        });
        $producer->close();
        $consumer = $this->consumer();
        $consumer->assign([new TopicPartition($topic, 0)]);
        $this->flat($count, static function () use ($consumer): int {
            $read = 0;
            foreach ($consumer->nextBatch(timeout: 30) as $record) {
                $read += strlen($record->value) === 100 ? 1 : 0;
            }

            return $read;
        });
    }

    /** Has so many done, some at a time: by then memory is what it was when half of it was. */
    private function flat(int $count, callable $some): void
    {
        $half = null;
        for ($done = 0; $done < $count;) {
            $done += $some();
            if ($half === null && $done >= intdiv($count, 2)) {
                $half = self::resident();
            }
        }
        $this->same($count, $done);
        $this->holds(self::resident() - $half < self::GROWTH_BYTES_MAX, 'memory is flat');
    }

    private static function resident(): int
    {
        return (int) explode(' ', (string) file_get_contents('/proc/self/statm'))[1] * 4096;
    }
}
