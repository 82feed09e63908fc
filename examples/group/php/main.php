<?php

// A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
//
//     php main.php localhost:9092 greetings

declare(strict_types=1);

use Ottla\Consumer;

require getenv('OTTLA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

$address = $argv[1] ?? 'localhost:9092';
$topic = $argv[2] ?? 'greetings';

$consumer = new Consumer(
    $address,
    group: $topic,
    topics: [$topic],
    start: 'earliest',
    onAssigned: static function (Consumer $_, array $partitions): void {
        foreach ($partitions as $partition) {
            echo "assigned: {$partition}\n";
        }
    },
    enable_auto_commit: false,
);
// Records may come in several batches: the first may take as long as the group does to begin.
$patience = 10;
while (($batch = $consumer->nextBatch(timeout: $patience)) !== null) {
    foreach ($batch as $record) {
        echo $record->value, "\n";
    }
    $consumer->commit($batch);
    $patience = 2;
}
$consumer->close();
