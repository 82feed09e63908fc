<?php

declare(strict_types=1);

namespace Ottla\Native;

use FFI\CData;
use Ottla\Token;

/**
 * Answers a client's requests for tokens by what a program gives as `token_provider`.
 *
 * @internal
 */
final class Tokens
{
    private const KEY = 'token_provider';
    /** What passes by itself, as PSR-18 has it: a request that fails so is made again. */
    private const PASSING = \Psr\Http\Client\NetworkExceptionInterface::class;

    private readonly \Closure $ask;

    private function __construct(mixed $provider)
    {
        $this->ask = match (true) {
            is_callable($provider) => $provider(...),
            is_object($provider) && method_exists($provider, 'token') => $provider->token(...),
            default => throw new \InvalidArgumentException('`' . self::KEY . '` is neither a callable nor an object with a method `token`'),
        };
    }

    /**
     * Takes the provider out of settings.
     *
     * @param array<string, mixed> $settings
     */
    public static function of(array &$settings): ?self
    {
        $provider = $settings[self::KEY] ?? null;
        unset($settings[self::KEY]);

        return $provider === null ? null : new self($provider);
    }

    /** Has clients of these settings ask by events of a queue. */
    public function configure(CData $config, CData $queue): void
    {
        Library::checked(static fn (CData $error): int => Library::ffi()->ottla_config_set_token_queue($config, $queue, 0, $error));
    }

    /** Answers a request, which is gone then. What the program throws is why there is no token. */
    public function answer(CData $request): void
    {
        try {
            $token = ($this->ask)();
            $token = $token instanceof Token ? $token : new Token((string) $token);
            $texts = Library::names([$token->value, $token->principal ?? '']);
            $pairs = [];
            foreach ($token->extensions as $name => $value) {
                array_push($pairs, (string) $name, (string) $value);
            }
            $extensions = Library::names($pairs);
        } catch (\Throwable $error) {
            $why = str_replace("\0", '', $error->getMessage());
            Library::ffi()->ottla_token_request_fail($request, $why, is_a($error, self::PASSING) ? 1 : 0);

            return;
        }
        $principal = $token->principal === null ? null : $texts->pointer[1];
        Library::checked(static fn (CData $error): int => Library::ffi()->ottla_token_request_give(
            $request,
            $texts->pointer[0],
            self::milliseconds($token->expires),
            $principal,
            $extensions->pointer,
            intdiv($extensions->count, 2),
            $error,
        ));
    }

    /** Milliseconds since 1970; below 0 where the token says it itself. */
    private static function milliseconds(null|\DateTimeInterface|float $expires): int
    {
        return match (true) {
            $expires === null => -1,
            is_float($expires) => (int) floor($expires * 1000),
            default => $expires->getTimestamp() * 1000,
        };
    }
}
