<?php

declare(strict_types=1);

namespace Ottla\Tests;

final class ExamplesTest extends TestCase
{
    private const EXAMPLES = __DIR__ . '/../../examples';

    public function testTheFirstProducerDoesWhatItSays(): void
    {
        $this->says($this->example('first_producer'), ['at offset 0', 'at offset 1', 'at offset 2']);
    }

    public function testTheFirstConsumerDoesWhatItSays(): void
    {
        // Who reads needs somebody who has written.
        $this->example('first_producer');
        $this->says($this->example('first_consumer'), ['0: hello, Ada', '1: hello, Grace', '2: hello, Barbara']);
    }

    public function testTheGroupDoesWhatItSays(): void
    {
        $this->example('first_producer');
        $this->says($this->example('group'), ['assigned: ', 'hello, Ada', 'hello, Grace', 'hello, Barbara']);
    }

    private function example(string $task): string
    {
        $program = self::EXAMPLES . "/{$task}/php/main.php";
        $command = [PHP_BINARY, $program, $this->servers(), $this->name('greetings')];
        $process = proc_open($command, [1 => ['pipe', 'w']], $pipes);
        $said = (string) stream_get_contents($pipes[1]);
        $this->same(0, proc_close($process));

        return $said;
    }

    private function says(string $said, array $lines): void
    {
        foreach ($lines as $line) {
            $this->holds(str_contains($said, $line), "`{$said}` has `{$line}` in it");
        }
    }
}
