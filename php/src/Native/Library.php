<?php

declare(strict_types=1);

namespace Ottla\Native;

use FFI;
use FFI\CData;
use Ottla\Exception\OttlaException;
use Ottla\TopicPartition;
use Ottla\TopicPartitionOffset;

/**
 * libottla, as its header has it.
 *
 * @internal
 */
final class Library
{
    /** As the library's name has it: libottla.so.1. */
    private const ABI_VERSION = 1;

    private static ?FFI $ffi = null;

    /** The library, which is loaded when it is first asked for. */
    public static function ffi(): FFI
    {
        return self::$ffi ??= self::load();
    }

    /** What a function gives by its `out`, where `err` is its last argument; or the error is thrown. */
    public static function made(string $type, callable $function): CData
    {
        $out = self::ffi()->new($type);
        self::checked(static fn (CData $error): int => $function(FFI::addr($out), $error));

        return $out;
    }

    /** Throws what a function puts into its `err`. */
    public static function checked(callable $function): void
    {
        $error = self::ffi()->new('ottla_error*');
        $status = $function(FFI::addr($error));
        if ($status !== 0) {
            throw OttlaException::taken($status, $error);
        }
    }

    /** A pointer's address. */
    public static function address(CData $pointer): int
    {
        return self::ffi()->cast('uintptr_t', $pointer)->cdata;
    }

    /** The pointer to an address. */
    public static function pointer(string $type, int $address): CData
    {
        $number = self::ffi()->new('uintptr_t');
        $number->cdata = $address;
        // A cast would but look at the number's own memory, which goes with it.
        $pointer = self::ffi()->new($type);
        FFI::memcpy(FFI::addr($pointer), FFI::addr($number), FFI::sizeof($pointer));

        return $pointer;
    }

    /** Bytes of a slice; null for null. */
    public static function bytes(CData $slice): ?string
    {
        return $slice->ptr === null ? null : FFI::string($slice->ptr, $slice->len);
    }

    /**
     * Structs that the library has given.
     *
     * @return list<CData>
     */
    public static function rows(string $function, CData $owner): array
    {
        $count = self::ffi()->new('size_t');
        $first = self::ffi()->{$function}($owner, FFI::addr($count));

        return self::listed($first, $count->cdata);
    }

    /** @return list<CData> */
    public static function listed(?CData $first, int $count): array
    {
        $rows = [];
        for ($index = 0; $index < $count; $index++) {
            $rows[] = $first[$index];
        }

        return $rows;
    }

    /**
     * Partitions, some with offsets.
     *
     * @param iterable<TopicPartition|TopicPartitionOffset> $partitions
     */
    public static function partitions(iterable $partitions): Rows
    {
        return new Rows('ottla_topic_partition', $partitions, static function (Rows $rows, CData $row, object $place): void {
            $row->topic = $rows->text($place->topic);
            $row->partition = $place->partition;
            $at = $place instanceof TopicPartitionOffset ? $place : null;
            $row->offset = $at->offset ?? -1;
            $row->timestamp_ms = -1;
            $row->leader_epoch = $at->leaderEpoch ?? -1;
            $row->metadata = $at === null ? null : $rows->text($at->metadata);
        });
    }

    /**
     * Names as an array of C's.
     *
     * @param iterable<string> $names
     */
    public static function names(iterable $names): Rows
    {
        return new Rows('char*', $names, static function (Rows $rows, mixed $_, string $name, int $index): void {
            $rows->pointer[$index] = $rows->text($name);
        });
    }

    private static function load(): FFI
    {
        $header = (string) file_get_contents(__DIR__ . '/ottla.h');
        $ffi = FFI::cdef($header, self::file());
        $version = $ffi->ottla_abi_version();
        if ($version !== self::ABI_VERSION) {
            throw new \RuntimeException(
                sprintf('`%s` has version %d of the interface, and this package needs %d', self::file(), $version, self::ABI_VERSION),
            );
        }

        return $ffi;
    }

    /** Where the library is: `OTTLA_LIBRARY`, or the one that came with this package, or the system's. */
    private static function file(): string
    {
        $named = (string) getenv('OTTLA_LIBRARY');
        if ($named !== '') {
            return $named;
        }
        $name = match (PHP_OS_FAMILY) {
            'Darwin' => 'libottla.dylib',
            'Windows' => 'ottla.dll',
            default => 'libottla.so.1',
        };
        $own = dirname(__DIR__, 2) . "/native/{$name}";

        return is_file($own) ? $own : $name;
    }
}
