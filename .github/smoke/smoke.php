<?php
// The package works: its own broker takes a record and gives it back.
require $argv[1] . '/autoload.php';

$broker = new Ottla\Testing\Broker();
$producer = new Ottla\Producer($broker->bootstrapServers);
$offset = $producer->send('smoke', 'two apples', key: '42')->wait()->offset;
$consumer = new Ottla\Consumer($broker->bootstrapServers, start: 'earliest');
$consumer->assign([['smoke', 0]]);
foreach ($consumer as $record) {
    if ([$record->key, $record->value] !== ['42', 'two apples']) {
        throw new Exception("$record->key $record->value");
    }
    break;
}
echo "PHP: offset $offset read back\n";
