<?php

// Delivery: reads orders and shipments, sees which orders wait and how many went with each van, and writes a report when it ends.
//
//     php main.php localhost:9092

declare(strict_types=1);

use Ottla\Consumer;
use Ottla\Producer;

require getenv('OTTLA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

/** How long it waits for records before it looks whether it is to end. */
const POLL_TIMEOUT_S = 0.5;

$servers = $argv[1] ?? 'localhost:9092';
$ending = false;
pcntl_async_signals(true);
pcntl_signal(SIGTERM, static function () use (&$ending): void {
    $ending = true;
});

/** What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order. */
final class Tally
{
    private int $count = 0;
    private int $checksum = 0;

    public function __construct(private readonly string $what)
    {
    }

    public function add(string $value): void
    {
        $this->count++;
        $this->checksum += crc32($value);
    }

    public function say(): void
    {
        echo "{$this->what} {$this->count} {$this->checksum}\n";
    }
}

$read = ['orders' => new Tally('read orders'), 'shipments' => new Tally('read shipments')];
$waiting = $vans = [];
$consumer = new Consumer($servers, group: 'delivery', topics: array_keys($read), start: 'earliest', enable_auto_commit: false);
while (!$ending) {
    $batch = $consumer->nextBatch(timeout: POLL_TIMEOUT_S);
    if ($batch === null) {
        continue;
    }
    $topic = $batch->topicPartition->topic;
    foreach ($batch->values() as $value) {
        $fields = explode(' ', $value);
        // A shipment may be read before its order: they come from two topics.
        $waiting[$fields[0]] = ($waiting[$fields[0]] ?? 0) + ($topic === 'orders' ? 1 : -1);
        if ($waiting[$fields[0]] === 0) {
            unset($waiting[$fields[0]]);
        }
        if ($topic === 'shipments') {
            $vans[$fields[5]] = ($vans[$fields[5]] ?? 0) + 1;
        }
        $read[$topic]->add($value);
    }
    $consumer->commit($batch);
    $read[$topic]->say();
}
$consumer->close();

$report = sprintf('delivery: %d orders went with %d vans, %d wait', array_sum($vans), count($vans), count($waiting));
$producer = new Producer($servers);
$producer->send('reports', $report, key: 'delivery')->wait();
$producer->close();
$wrote = new Tally('wrote reports');
$wrote->add($report);
$wrote->say();
