using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;
using Ottla.Testing;

namespace Ottla.Tests;

/// <summary>Tokens of the program's own, by which clients log in at a broker that checks them.</summary>
public sealed class TokensTests
{
    private static readonly string Tokens = Environment.GetEnvironmentVariable("OTTLA_TEST_TOKENS") ?? "../../../../../tests/tokens";

    private OttlaBroker? _broker;
    private string _alice = "";

    [OneTimeSetUp]
    public void Start()
    {
        _alice = File.ReadAllText(Path.Combine(Tokens, "alice.jwt")).Trim();
        _broker = OttlaBroker.Start(new Dictionary<string, string>
        {
            ["listener.security.protocol.map"] = "PLAINTEXT:SASL_PLAINTEXT",
            ["sasl.enabled.mechanisms"] = "OAUTHBEARER",
            ["sasl.oauthbearer.jwks.endpoint.url"] = new Uri(Path.GetFullPath(Path.Combine(Tokens, "keys.json"))).AbsoluteUri,
            ["sasl.oauthbearer.expected.audience"] = "kafka",
            ["sasl.oauthbearer.expected.issuer"] = "https://issuer.test",
            ["ottla.sasl.plain.without.tls"] = "true",
        });
    }

    [OneTimeTearDown]
    public void Stop() => _broker?.Dispose();

    [Test]
    public async Task AClientLogsInByWhatTheProgramGives()
    {
        var topic = Broker.Name("tokens");
        var later = async (CancellationToken cancellation) =>
        {
            await Task.Delay(10, cancellation);
            return new OAuthBearerToken(_alice)
            {
                Expires = new DateTimeOffset(2100, 1, 1, 0, 0, 0, TimeSpan.Zero),
                Principal = "alice",
                Extensions = new Dictionary<string, string> { ["tenant"] = "a" },
            };
        };
        Func<CancellationToken, ValueTask<OAuthBearerToken>> provider = async cancellation => await later(cancellation);
        await using (var producer = new Producer<string, string>(Bearer(new ProducerOptions(""), provider)))
        {
            var written = await producer.SendAsync(topic, null, "two apples");
            Assert.That(written.Offset, Is.EqualTo(0));
        }
        using var admin = new AdminClient(Bearer(new AdminOptions(""), _ => new(new OAuthBearerToken(_alice))));
        Assert.That((await admin.DescribeClusterAsync(Broker.Patient())).Brokers, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task WhatItThrowsIsPartOfTheErrorAndWhatPassesIsTriedAgain()
    {
        using var closed = new AdminClient(Bearer(new AdminOptions(""), _ => throw new InvalidOperationException("the vault is sealed")));
        var failure = Assert.ThrowsAsync<Errors.AuthenticationException>(() => closed.DescribeClusterAsync(Broker.Patient()))!;
        Assert.That(failure.Message, Does.Contain("the vault is sealed"));
        var asked = 0;
        using var away = new AdminClient(Bearer(new AdminOptions(""), _ =>
            Interlocked.Increment(ref asked) < 3
                ? throw new SocketException((int)SocketError.ConnectionRefused)
                : new(new OAuthBearerToken(_alice))));
        Assert.That((await away.DescribeClusterAsync(Broker.Patient())).Brokers, Has.Count.EqualTo(1));
        Assert.That(asked, Is.EqualTo(3));
    }

    [Test]
    public void ATokenThatIsNoGoodIsToldAsSuch()
    {
        var forged = string.Concat(_alice.AsSpan(0, _alice.Length - 8), "AAAAAAAA");
        Assert.That(new OAuthBearerToken(forged).ToString(), Does.Not.Contain(forged));
        using var admin = new AdminClient(Bearer(new AdminOptions(""), _ => new(new OAuthBearerToken(forged))));
        var failure = Assert.ThrowsAsync<Errors.AuthenticationException>(() => admin.DescribeClusterAsync(Broker.Patient()))!;
        Assert.That(failure.Message, Does.Contain("invalid_token").And.Not.Contain(forged));
    }

    private T Bearer<T>(T options, Func<CancellationToken, ValueTask<OAuthBearerToken>> provider)
        where T : ClientOptions
    {
        options["bootstrap.servers"] = _broker!.BootstrapServers;
        options["security.protocol"] = "SASL_PLAINTEXT";
        options["sasl.mechanism"] = "OAUTHBEARER";
        options["ottla.sasl.plain.without.tls"] = "true";
        options.OAuthBearerTokenProvider = provider;
        return options;
    }
}
