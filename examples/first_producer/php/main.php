<?php

// Writes a few records and says where they are.
//
//     php main.php localhost:9092 greetings

declare(strict_types=1);

use Ottla\Producer;

require getenv('OTTLA_AUTOLOAD') ?: __DIR__ . '/vendor/autoload.php';

$address = $argv[1] ?? 'localhost:9092';
$topic = $argv[2] ?? 'greetings';

$producer = new Producer($address);
$deliveries = [];
foreach (['Ada', 'Grace', 'Barbara'] as $name) {
    $deliveries[] = $producer->send($topic, "hello, {$name}", key: $name, headers: ['language' => 'php']);
}
foreach ($deliveries as $delivery) {
    $written = $delivery->wait(10);
    echo "written to {$written->topic}-{$written->partition} at offset {$written->offset}\n";
}
$producer->close();
