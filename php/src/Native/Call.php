<?php

declare(strict_types=1);

namespace Ottla\Native;

use Ottla\Exception\OttlaException;

/**
 * A call of C's that is under way, or has ended.
 *
 * @internal
 */
final class Call
{
    public bool $done = false;
    public mixed $value = null;
    public ?OttlaException $error = null;

    /** @var null|\Closure Makes the value of C's result. */
    private readonly ?\Closure $read;

    public function __construct(?callable $read)
    {
        $this->read = $read === null ? null : $read(...);
    }

    /** It ended, with a result at this address, or an error. */
    public function ended(int $status, int $object): void
    {
        $this->done = true;
        if ($status !== 0) {
            $this->error = OttlaException::taken($status, Library::pointer('ottla_error*', $object));

            return;
        }
        $result = Library::pointer('ottla_result*', $object);
        try {
            $this->value = $this->read === null ? null : ($this->read)($result);
        } catch (OttlaException $error) {
            // What the result says of one of the things that were asked for.
            $this->error = $error;
        } finally {
            Library::ffi()->ottla_result_free($result);
        }
    }
}
