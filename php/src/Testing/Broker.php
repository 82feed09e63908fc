<?php

declare(strict_types=1);

namespace Ottla\Testing;

/**
 * A real broker on a free port, whose data goes with it. It ends by `stop`, or with this object, or with this process, however that ends.
 *
 *     $broker = new Ottla\Testing\Broker();
 *     (new Ottla\Producer($broker->bootstrapServers))->send('orders', 'two apples')->wait();
 */
final class Broker
{
    /** Longest that the broker may take to stop. */
    private const STOP_PATIENCE_S = 30.0;
    private const LOOK_INTERVAL_US = 5_000;

    /** Where it listens, for clients. */
    public readonly string $bootstrapServers;

    /** @var null|resource */
    private $process;
    /** @var array<int, resource> */
    private array $pipes = [];
    /** @var resource */
    private $log;
    private readonly int $owner;

    /** @param array<string, bool|float|int|string> $config keys of brokers */
    public function __construct(array $config = [])
    {
        $command = [self::program(), 'dev', '--quiet', '--until-stdin-ends', '--listen', '127.0.0.1:0'];
        foreach ($config as $key => $value) {
            array_push($command, '--set', "{$key}=" . (is_bool($value) ? json_encode($value) : $value));
        }
        // Variables that are settings are for brokers that somebody starts, not for this one.
        $environment = array_filter(getenv(), static fn (string $name): bool => !str_starts_with($name, 'OTTLA_'), ARRAY_FILTER_USE_KEY);
        $this->owner = (int) getmypid();
        $this->log = tmpfile();
        $this->process = proc_open($command, [['pipe', 'r'], ['pipe', 'w'], $this->log], $this->pipes, null, $environment);
        // It prints where it listens, once it does; or it ends, and has said why.
        $this->bootstrapServers = trim((string) fgets($this->pipes[1]));
        if ($this->bootstrapServers === '') {
            $this->stop();
            throw new \RuntimeException("the broker did not start:\n{$this->log()}");
        }
    }

    public function __destruct()
    {
        // A forked child leaves it to its parent.
        if (getmypid() === $this->owner) {
            $this->stop();
        }
    }

    /** Where the program `ottla` is: `OTTLA_PROGRAM`, or the one that came with this package, or the one on the PATH. */
    public static function program(): string
    {
        $named = (string) getenv('OTTLA_PROGRAM');
        $own = dirname(__DIR__, 2) . '/native/ottla';

        return $named !== '' ? $named : (is_file($own) ? $own : 'ottla');
    }

    /** What it has logged. */
    public function log(): string
    {
        rewind($this->log);

        return (string) stream_get_contents($this->log);
    }

    /** Stops it, in order. Stopping again does nothing. */
    public function stop(): void
    {
        if ($this->process === null) {
            return;
        }
        fclose($this->pipes[0]);
        $deadline = hrtime(true) / 1e9 + self::STOP_PATIENCE_S;
        while (proc_get_status($this->process)['running']) {
            if (hrtime(true) / 1e9 > $deadline) {
                proc_terminate($this->process, 9);
            }
            usleep(self::LOOK_INTERVAL_US);
        }
        proc_close($this->process);
        $this->process = null;
    }
}
