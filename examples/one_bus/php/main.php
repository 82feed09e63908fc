<?php

// A shop: sends its orders to a topic, and reads every shop's orders in a group of its own, in turn, as PHP has one thread.
//
//     php main.php localhost:9092 orders php 20000 20000

declare(strict_types=1);

use Ottla\Consumer;
use Ottla\Producer;

require getenv('OTTLA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

/** Orders that are on their way at once. */
const UNDERWAY_MAX = 1_000;

[, $servers, $topic, $name] = $argv;
[$toSend, $toRead] = array_map('intval', array_slice($argv, 4));

$producer = new Producer($servers);
$consumer = new Consumer($servers, group: $name, topics: [$topic], start: 'earliest');
$sent = $sentSum = $read = $readSum = 0;
while ($sent < $toSend || $read < $toRead) {
    $underway = [];
    for ($number = $sent; $number < min($toSend, $sent + UNDERWAY_MAX); $number++) {
        $key = "{$name}-{$number}";
        $value = "{$key}: " . ($number % 12 + 1) . ' apples';
        $underway[] = $producer->send($topic, $value, key: $key);
        $sentSum += crc32($value);
    }
    // What there is meanwhile; it is waited for only when all is sent.
    $batch = $consumer->nextBatch(timeout: $underway === [] ? null : 0);
    if ($batch !== null) {
        foreach ($batch as $record) {
            $readSum += crc32($record->value);
        }
        $read += count($batch);
        echo "read {$read}\n";
    }
    if ($underway !== []) {
        foreach ($underway as $delivery) {
            $delivery->wait();
        }
        $sent += count($underway);
        echo "sent {$sent}\n";
    }
}
$producer->close();
$consumer->close();
echo "total sent {$sent} {$sentSum}\ntotal read {$read} {$readSum}\n";
