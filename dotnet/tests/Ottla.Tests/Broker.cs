using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;
using Ottla.Testing;

namespace Ottla.Tests;

/// <summary>The broker of all tests, and topics of their own on it.</summary>
[SetUpFixture]
public sealed class Broker
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static OttlaBroker? s_broker;
    private static int s_names;

    internal static string Address => s_broker!.BootstrapServers;

    [OneTimeSetUp]
    public void Start() => s_broker = OttlaBroker.Start(new Dictionary<string, string>
    {
        ["group.initial.rebalance.delay.ms"] = "0",
    });

    [OneTimeTearDown]
    public void Stop() => s_broker?.Dispose();

    /// <summary>A name that nobody else has.</summary>
    internal static string Name(string stem) => $"{stem}-{Interlocked.Increment(ref s_names)}";

    /// <summary>A new topic.</summary>
    internal static async Task<string> TopicAsync(int partitions = 1)
    {
        var name = Name("topic");
        using var admin = new AdminClient(Address);
        await admin.CreateTopicsAsync(new[] { new NewTopic(name, partitions) });
        return name;
    }

    internal static ProducerOptions ProducerOptions => new(Address) { LingerMs = 0 };

    internal static ConsumerOptions ConsumerOptions => new(Address) { AutoOffsetReset = "earliest" };

    /// <summary>Gives up what takes too long, so that a test fails and does not hang.</summary>
    internal static CancellationToken Patient() => new CancellationTokenSource(Patience).Token;

    /// <summary>Writes values, from 0 up.</summary>
    internal static async Task FillAsync(string topic, int count, int from = 0)
    {
        await using var producer = new Producer<string, string>(ProducerOptions);
        for (var i = from; i < from + count; i++)
        {
            producer.Send(topic, null, i.ToString());
        }
        await producer.FlushAsync(Patient());
    }
}
