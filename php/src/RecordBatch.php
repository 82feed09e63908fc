<?php

declare(strict_types=1);

namespace Ottla;

use FFI;
use FFI\CData;
use Ottla\Native\Library;

/**
 * Records of one partition, in the order of the log.
 *
 * @implements \IteratorAggregate<int, Record>
 * @implements \ArrayAccess<int, Record>
 */
final class RecordBatch implements \IteratorAggregate, \ArrayAccess, \Countable
{
    /** Bytes of a row of the table. */
    private const ROW_BYTES = 64;

    public readonly TopicPartition $topicPartition;
    /** The offset at which the next batch of this partition goes on. */
    public readonly int $nextOffset;
    /** The offset behind the partition's last record, as of the fetch that brought these; null where it is not known. */
    public readonly ?int $highWatermark;

    private readonly int $count;
    private readonly string $rows;
    private readonly string $data;

    /**
     * Takes C's batch over. Rows and data are copied in two pieces; headers, which few look at, are left where they are.
     *
     * @internal
     */
    public function __construct(private readonly CData $native)
    {
        $ffi = Library::ffi();
        $count = $ffi->new('size_t');
        $rows = $ffi->ottla_batch_records($native, FFI::addr($count));
        $this->count = $count->cdata;
        $this->rows = FFI::string($ffi->cast('char*', $rows), $this->count * self::ROW_BYTES);
        $data = $ffi->ottla_batch_data($native);
        $this->data = $data->len === 0 ? '' : FFI::string($data->ptr, $data->len);
        $topic = $ffi->ottla_batch_topic($native, $this->column('S', 0, 44));
        $this->topicPartition = new TopicPartition($topic, $this->column('l', 0, 48));
        $this->nextOffset = $ffi->ottla_batch_next_offset($native);
        $high = $ffi->ottla_batch_high_watermark($native);
        $this->highWatermark = $high < 0 ? null : $high;
    }

    public function __destruct()
    {
        Library::ffi()->ottla_batch_free($this->native);
    }

    public function count(): int
    {
        return $this->count;
    }

    /** @return \Generator<int, Record> */
    public function getIterator(): \Generator
    {
        for ($index = 0; $index < $this->count; $index++) {
            yield $index => new Record($this, $index);
        }
    }

    /** @return list<?string> the values of all */
    public function values(): array
    {
        return $this->all(fn (int $index): ?string => $this->bytes($index, 20, 32));
    }

    /** @return list<?string> the keys of all */
    public function keys(): array
    {
        return $this->all(fn (int $index): ?string => $this->bytes($index, 16, 28));
    }

    /** @return list<int> the offsets of all */
    public function offsets(): array
    {
        return $this->all(fn (int $index): int => $this->column('q', $index, 0));
    }

    public function offsetExists(mixed $offset): bool
    {
        return is_int($offset) && $offset >= 0 && $offset < $this->count;
    }

    public function offsetGet(mixed $offset): Record
    {
        return $this->offsetExists($offset)
            ? new Record($this, $offset)
            : throw new \OutOfBoundsException("the batch has {$this->count} records, and none at " . json_encode($offset));
    }

    public function offsetSet(mixed $offset, mixed $value): void
    {
        throw new \LogicException('a batch does not change');
    }

    public function offsetUnset(mixed $offset): void
    {
        throw new \LogicException('a batch does not change');
    }

    /**
     * C's batch.
     *
     * @internal
     */
    public function native(): CData
    {
        return $this->native;
    }

    /**
     * A number of a record's row, at that place of it.
     *
     * @internal
     */
    public function column(string $type, int $index, int $at): int
    {
        return unpack($type, $this->rows, $index * self::ROW_BYTES + $at)[1];
    }

    /**
     * A key or a value, of which a record's row says where it begins, and its length.
     *
     * @internal
     */
    public function bytes(int $index, int $at, int $lengthAt): ?string
    {
        $length = unpack('l', $this->rows, $index * self::ROW_BYTES + $lengthAt)[1];

        return $length < 0 ? null : substr($this->data, unpack('L', $this->rows, $index * self::ROW_BYTES + $at)[1], $length);
    }

    /**
     * @return list<array{string, ?string}>
     *
     * @internal
     */
    public function headers(int $index): array
    {
        $count = $this->column('L', $index, 36);
        $headers = [];
        $header = Library::ffi()->new('ottla_header');
        for ($number = 0; $number < $count; $number++) {
            Library::ffi()->ottla_batch_header($this->native, $index, $number, FFI::addr($header));
            $headers[] = [(string) Library::bytes($header->name), Library::bytes($header->value)];
        }

        return $headers;
    }

    private function all(callable $of): array
    {
        return $this->count === 0 ? [] : array_map($of, range(0, $this->count - 1));
    }
}
