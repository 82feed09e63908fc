<?php

// Reads a topic's partition from its beginning, until nothing has come for two seconds.
//
//     php main.php localhost:9092 greetings

declare(strict_types=1);

use Ottla\Consumer;
use Ottla\TopicPartition;

require getenv('OTTLA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

$address = $argv[1] ?? 'localhost:9092';
$topic = $argv[2] ?? 'greetings';

$consumer = new Consumer($address, start: 'earliest');
$consumer->assign([new TopicPartition($topic, 0)]);
while (($record = $consumer->poll(2)) !== null) {
    echo "{$record->offset}: {$record->value}\n";
}
$consumer->close();
