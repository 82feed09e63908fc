<?php

declare(strict_types=1);

namespace Ottla\Native;

use FFI;
use FFI\CData;
use Ottla\Delivery;
use Ottla\Exception\ClosedException;
use Ottla\Exception\ForkedException;
use Ottla\Exception\OttlaException;

/**
 * What producers, consumers and admin clients have in common: the handle of C's, and the queue on which all ends that takes time. Nothing of
 * PHP is called by a thread of the library: what has ended is taken from the queue, by whoever waits.
 *
 * @internal
 */
final class Client
{
    /** Events that are taken from the queue at once. */
    private const EVENTS_MAX = 256;
    private const EVENT = 'Lkind/lstatus/Qtoken/qoffset/qtimestamp/lpartition/Lflags/Qobject';
    private const EVENT_BYTES = 64;
    private const EV_DELIVERY = 1;
    private const EV_CALL = 2;
    private const EV_REBALANCE = 4;
    private const EV_TOKEN_REQUEST = 5;
    /** How long a wait lasts at most before handlers of signals have their turn. */
    private const SLICE_MS = 50;

    /** @var array<int, Delivery> Records that are under way, by their tokens. */
    public array $deliveries = [];
    /** @var list<CData> Rebalances that wait to be told. */
    public array $steps = [];
    /** Closing has begun: who waits for records waits no more. */
    public bool $closing = false;

    /** @var array<int, Call> */
    private array $calls = [];
    /** @var list<CData> Requests for tokens that are to be answered. */
    private array $requests = [];
    private readonly ?Tokens $tokens;
    private readonly CData $queue;
    private readonly CData $events;
    private ?CData $handle;
    private readonly int $process;
    private int $token = 0;

    /** @param 'producer'|'consumer'|'admin' $kind */
    public function __construct(private readonly string $kind, array $settings)
    {
        $ffi = Library::ffi();
        $this->process = (int) getmypid();
        $this->events = $ffi->new('ottla_event[' . self::EVENTS_MAX . ']');
        $this->tokens = Tokens::of($settings);
        $config = $ffi->ottla_config_new();
        try {
            foreach ($settings as $key => $value) {
                self::set($config, (string) $key, $value);
            }
            $this->queue = Library::made('ottla_queue*', static fn (CData $out, CData $error): int => $ffi->ottla_queue_new($out, $error));
            $this->tokens?->configure($config, $this->queue);
            $this->handle = Library::made("ottla_{$kind}*", fn (CData $out, CData $error): int => match ($kind) {
                'admin' => $ffi->ottla_admin_new($config, $out, $error),
                default => $ffi->{"ottla_{$kind}_new"}($config, $this->queue, $out, $error),
            });
        } finally {
            $ffi->ottla_config_free($config);
        }
    }

    /** Frees the client, then its queue. Neither waits, and in a forked child they are but forgotten. */
    public function __destruct()
    {
        $this->free();
        foreach ($this->requests as $request) {
            Library::ffi()->ottla_token_request_fail($request, 'the client was freed', 0);
        }
        if (isset($this->queue)) {
            Library::ffi()->ottla_queue_free($this->queue);
        }
    }

    /**
     * Settings that were given as one text, as an array, by name, or by all of these.
     *
     * @return array<string, mixed>
     */
    public static function settings(array|string|null $config, array $named): array
    {
        $given = is_array($config) ? $config : ['bootstrap.servers' => $config];

        // What is null is as good as not given: so options can be passed through.
        return array_merge(...array_map(
            static fn (array $settings): array => array_filter($settings, static fn (mixed $value): bool => $value !== null),
            [$given, $named],
        ));
    }

    /** The handle, for functions that do not wait. */
    public function handle(): CData
    {
        if (!$this->isOurs()) {
            throw new ForkedException("the {$this->kind} was made before this process was forked; make a new one in the child", -10);
        }

        return $this->handle ?? throw new ClosedException("the {$this->kind} was closed", -4);
    }

    public function isFreed(): bool
    {
        return !isset($this->handle);
    }

    /** Whether the client was made in this process. */
    public function isOurs(): bool
    {
        return getmypid() === $this->process;
    }

    /** Frees the handle, unless that is done. */
    public function free(): void
    {
        if (isset($this->handle)) {
            Library::ffi()->{"ottla_{$this->kind}_free"}($this->handle);
            $this->handle = null;
        }
    }

    public function token(): int
    {
        return ++$this->token;
    }

    /**
     * Starts a call of C's, waits for it, and gives what `$read` makes of its result.
     *
     * @param null|callable(CData): mixed $read
     */
    public function call(CData $call, ?callable $read = null, ?float $timeout = null, string $what = 'it'): mixed
    {
        return $this->finish($this->start($call, $read), self::deadline($timeout), $what);
    }

    public function start(CData $call, ?callable $read = null): Call
    {
        $token = $this->token();
        $started = $this->calls[$token] = new Call($read);
        $status = Library::ffi()->ottla_call_start($call, $this->queue, $token);
        if ($status !== 0) {
            unset($this->calls[$token]);
            throw OttlaException::of($status);
        }

        return $started;
    }

    public function finish(Call $call, ?float $deadline, string $what): mixed
    {
        if (!$this->wait($deadline, static fn (): bool => $call->done)) {
            throw OttlaException::late("{$what} was not done in time");
        }
        if ($call->error !== null) {
            throw $call->error;
        }

        return $call->value;
    }

    /** When a timeout in seconds is over; null for never. */
    public static function deadline(?float $timeout): ?float
    {
        return $timeout === null ? null : hrtime(true) / 1e9 + $timeout;
    }

    /** A timeout in C's milliseconds: below 0 for ever. */
    public static function milliseconds(?float $timeout): int
    {
        return $timeout === null ? -1 : (int) min(max(0, ceil($timeout * 1000)), 0x7fffffff);
    }

    /**
     * Waits until `$isDone` says true, which it is asked after each event; false if that is not by the deadline.
     *
     * @param callable(): bool $isDone
     */
    public function wait(?float $deadline, callable $isDone): bool
    {
        $this->drain(0);
        while (!$isDone()) {
            $this->ours();
            $slice = self::SLICE_MS;
            if ($deadline !== null) {
                $left = $deadline - hrtime(true) / 1e9;
                if ($left <= 0) {
                    return false;
                }
                $slice = (int) min($slice, ceil($left * 1000));
            }
            $this->drain($slice);
        }

        return true;
    }

    /** Takes what has ended; waits for the first of it. */
    public function drain(int $timeoutMs): void
    {
        self::undisturbed(function () use ($timeoutMs): void {
            $ffi = Library::ffi();
            do {
                $count = $ffi->ottla_queue_drain($this->queue, FFI::addr($this->events[0]), self::EVENTS_MAX, $timeoutMs);
                $timeoutMs = 0;
                if ($count > 0) {
                    $this->take(FFI::string($ffi->cast('char*', FFI::addr($this->events[0])), $count * self::EVENT_BYTES), $count);
                }
            } while ($count === self::EVENTS_MAX);
        });
        // Behind it: the program's function may wait, throw, and use the client.
        while (($request = array_shift($this->requests)) !== null) {
            $this->tokens?->answer($request);
        }
    }

    /**
     * Runs what must not end between C and here: handlers of signals, which may throw, have their turn behind it.
     */
    public static function undisturbed(callable $what): mixed
    {
        if (!function_exists('pcntl_async_signals') || !pcntl_async_signals(false)) {
            return $what();
        }
        try {
            return $what();
        } finally {
            pcntl_async_signals(true);
            pcntl_signal_dispatch();
        }
    }

    /**
     * Metrics by name, of a function that fills places; null where there is none yet.
     *
     * @param callable(?CData, int): int $fill
     *
     * @return array<string, ?float>
     */
    public static function metrics(callable $fill): array
    {
        $count = $fill(null, 0);
        $size = max(1, $count);
        $places = Library::ffi()->new("ottla_metric[{$size}]");
        $count = min($count, $fill(FFI::addr($places[0]), $count));
        $metrics = [];
        for ($index = 0; $index < $count; $index++) {
            $value = $places[$index]->value;
            $metrics[$places[$index]->name] = is_nan($value) ? null : $value;
        }

        return $metrics;
    }

    private function ours(): void
    {
        if (!$this->isOurs()) {
            $this->handle();
        }
    }

    private static function set(CData $config, string $key, mixed $value): void
    {
        $text = match (true) {
            is_bool($value) => $value ? 'true' : 'false',
            is_array($value) => implode(',', $value),
            default => (string) $value,
        };
        Library::checked(static fn (CData $error): int => Library::ffi()->ottla_config_set($config, $key, $text, $error));
    }

    private function take(string $events, int $count): void
    {
        for ($index = 0; $index < $count; $index++) {
            $event = unpack(self::EVENT, $events, $index * self::EVENT_BYTES);
            switch ($event['kind']) {
                case self::EV_DELIVERY:
                    $this->delivered($event);
                    break;
                case self::EV_CALL:
                    $call = $this->calls[$event['token']] ?? new Call(null);
                    unset($this->calls[$event['token']]);
                    $call->ended($event['status'], $event['object']);
                    break;
                case self::EV_REBALANCE:
                    $this->steps[] = Library::pointer('ottla_rebalance*', $event['object']);
                    break;
                case self::EV_TOKEN_REQUEST:
                    $this->requests[] = Library::pointer('ottla_token_request*', $event['object']);
                    break;
            }
        }
    }

    private function delivered(array $event): void
    {
        $error = $event['status'] === 0
            ? null
            : OttlaException::taken($event['status'], Library::pointer('ottla_error*', $event['object']));
        $delivery = $this->deliveries[$event['token']] ?? null;
        unset($this->deliveries[$event['token']]);
        $delivery?->settle($event['partition'], $event['offset'], $event['timestamp'], $error);
    }
}
