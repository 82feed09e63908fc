<?php

declare(strict_types=1);

namespace Ottla\Exception;

use FFI\CData;
use Ottla\Native\Library;

/**
 * The base of all that this package throws itself. `KafkaException` is what a broker refused, with a class for each of Kafka's codes; what is
 * local to the client has classes of its own. `getCode()` is above 0 for a broker's code, as Kafka numbers it, and below 0 for a local one.
 */
class OttlaException extends \RuntimeException
{
    private const RETRIABLE = 1;
    private const FATAL = 2;
    private const ABORTABLE = 4;

    /** The code's name, as `UNKNOWN_TOPIC_OR_PARTITION` or `QUEUE_FULL`. */
    public readonly string $name;
    /** Whether the same call may succeed later, unchanged. */
    public readonly bool $retriable;
    /** Whether nothing helps before a person acted. */
    public readonly bool $fatal;
    /** Whether the transaction must be aborted; then the producer can go on. */
    public readonly bool $abortable;
    /** What to do about it, or null where that is not known. */
    public readonly ?string $hint;

    final public function __construct(string $message, int $code = 0, int $flags = 0, ?string $hint = null)
    {
        parent::__construct($hint === null ? $message : "{$message}; {$hint}", $code);
        $this->name = Library::ffi()->ottla_error_name($code);
        $this->retriable = ($flags & self::RETRIABLE) !== 0;
        $this->fatal = ($flags & self::FATAL) !== 0;
        $this->abortable = ($flags & self::ABORTABLE) !== 0;
        $this->hint = $hint;
    }

    /**
     * One that stays C's.
     *
     * @internal
     */
    public static function read(CData $error): self
    {
        $ffi = Library::ffi();

        return self::of(
            $ffi->ottla_error_code($error),
            $ffi->ottla_error_message($error),
            $ffi->ottla_error_flags($error),
            $ffi->ottla_error_hint($error),
        );
    }

    /**
     * One that C has given, which is freed.
     *
     * @internal
     */
    public static function taken(int $status, ?CData $error): self
    {
        if ($error === null || \FFI::isNull($error)) {
            return self::of($status);
        }
        $read = self::read($error);
        Library::ffi()->ottla_error_free($error);

        return $read;
    }

    /** @internal */
    public static function of(int $code, ?string $message = null, int $flags = 0, ?string $hint = null): self
    {
        $class = Classes::BY_CODE[$code] ?? ($code > 0 ? KafkaException::class : self::class);

        return new $class($message ?? Library::ffi()->ottla_error_meaning($code), $code, $flags, $hint);
    }

    /** @internal */
    public static function late(string $what): TimeoutException
    {
        return new TimeoutException($what, -2, self::RETRIABLE);
    }
}
