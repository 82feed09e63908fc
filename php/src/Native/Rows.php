<?php

declare(strict_types=1);

namespace Ottla\Native;

use FFI;
use FFI\CData;

/**
 * An array of C's, and the texts that it points to, which live as long as this does.
 *
 * @internal
 */
final class Rows
{
    public readonly int $count;
    /** Its first element; NULL's like if there is none. */
    public readonly CData $pointer;

    private readonly CData $array;
    /** @var list<CData|Rows> */
    private array $held = [];

    /** @param callable(Rows, mixed, mixed, int): void $fill is called with the element, what it is made of, and its index */
    public function __construct(string $type, iterable $items, callable $fill)
    {
        $items = is_array($items) ? array_values($items) : iterator_to_array($items, false);
        $this->count = count($items);
        $size = max(1, $this->count);
        $this->array = Library::ffi()->new("{$type}[{$size}]");
        $this->pointer = FFI::addr($this->array[0]);
        foreach ($items as $index => $item) {
            $fill($this, $this->array[$index], $item, $index);
        }
    }

    /** A text that ends with a zero. */
    public function text(string $text): CData
    {
        if (str_contains($text, "\0")) {
            throw new \InvalidArgumentException('a text for the library has no zero in it: ' . json_encode($text));
        }
        $length = strlen($text) + 1;
        $copy = Library::ffi()->new("char[{$length}]");
        FFI::memcpy($copy, $text . "\0", $length);
        $this->held[] = $copy;

        return FFI::addr($copy[0]);
    }

    /** Keeps others, which an element points to. */
    public function hold(self $rows): self
    {
        $this->held[] = $rows;

        return $rows;
    }
}
