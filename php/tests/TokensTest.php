<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Admin;
use Ottla\Consumer;
use Ottla\Exception\AuthenticationException;
use Ottla\Exception\ConfigException;
use Ottla\Producer;
use Ottla\Testing\Broker;
use Ottla\Token;

/** Tokens of the program's own, by which clients log in at a broker that checks them. */
final class TokensTest extends TestCase
{
    private const TOKENS = __DIR__ . '/../../tests/tokens';

    public function testAClientLogsInByWhatTheProgramGives(): void
    {
        $broker = $this->broker();
        $vault = new class(self::alice()) {
            public function __construct(private readonly string $alice)
            {
            }

            public function token(): Token
            {
                return new Token($this->alice, new \DateTimeImmutable('2100-01-01'), 'alice', ['tenant' => 'a']);
            }
        };
        foreach ([self::alice(...), $vault] as $index => $provider) {
            $topic = $this->name("tokens-{$index}");
            $producer = new Producer(...$this->bearer($broker, $provider));
            $this->same(0, $producer->send($topic, 'two apples')->wait(30)->offset);
            $producer->close();
            $consumer = new Consumer(...$this->bearer($broker, $provider), group: $topic, topics: [$topic], start: 'earliest');
            $this->same('two apples', $consumer->poll(30)?->value);
            $consumer->close();
        }
    }

    public function testWhyThereIsNoTokenIsPartOfTheError(): void
    {
        $broker = $this->broker();
        $sealed = new Admin(...$this->bearer($broker, static fn () => throw new \RuntimeException('the vault is sealed')));
        $this->thrown(AuthenticationException::class, fn () => $sealed->describeCluster(), 'the vault is sealed');
        $forged = substr(self::alice(), 0, -8) . 'AAAAAAAA';
        $refused = new Admin(...$this->bearer($broker, static fn () => $forged));
        $error = $this->thrown(AuthenticationException::class, fn () => $refused->describeCluster(), 'invalid_token');
        $this->holds(!str_contains($error->getMessage(), $forged), 'the token is not shown');
        $this->holds(!str_contains(print_r(new Token($forged), true), $forged), 'nor is it dumped');
    }

    public function testWhatGivesNoTokensIsAMistake(): void
    {
        $broker = $this->broker();
        $this->thrown(\InvalidArgumentException::class, fn () => new Admin(...$this->bearer($broker, 'no function')), 'token_provider');
        $this->thrown(ConfigException::class, fn () => new Admin(...$this->bearer($broker, null)), 'token.endpoint.url');
    }

    private static function alice(): string
    {
        return trim((string) file_get_contents(self::TOKENS . '/alice.jwt'));
    }

    private function broker(): Broker
    {
        return new Broker([
            'listener.security.protocol.map' => 'PLAINTEXT:SASL_PLAINTEXT',
            'sasl.enabled.mechanisms' => 'OAUTHBEARER',
            'sasl.oauthbearer.jwks.endpoint.url' => 'file://' . realpath(self::TOKENS) . '/keys.json',
            'sasl.oauthbearer.expected.audience' => 'kafka',
            'sasl.oauthbearer.expected.issuer' => 'https://issuer.test',
            'ottla.sasl.plain.without.tls' => 'true',
        ]);
    }

    /** @return array<string, mixed> */
    private function bearer(Broker $broker, mixed $provider): array
    {
        return [
            'config' => [
                'bootstrap.servers' => $broker->bootstrapServers,
                'security.protocol' => 'SASL_PLAINTEXT',
                'sasl.mechanism' => 'OAUTHBEARER',
                'ottla.sasl.plain.without.tls' => true,
            ],
            'token_provider' => $provider,
        ];
    }
}
