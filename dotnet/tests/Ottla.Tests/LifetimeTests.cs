using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

/// <summary>What programs do to clients that they should not; none of it may end the process, hang it, or keep what it had.</summary>
public sealed class LifetimeTests
{
    [Test]
    public async Task RecordsOfABatchThatWasDisposedOfThrow()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 5);
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var batch = (await consumer.PollAsync(TimeSpan.FromSeconds(20)))!;
        var record = batch[0];
        var kept = batch.Retain();
        batch.Dispose();
        batch.Dispose();
        var uses = new Action[]
        {
            () => _ = record.Value.Length,
            () => _ = record.Key.Length,
            () => _ = record.Offset,
            () => _ = record.TimestampMs,
            () => record.GetHeaders(),
            () => _ = batch[0],
            () => _ = batch.Records[0],
            () => batch.Retain(),
        };
        foreach (var use in uses)
        {
            Assert.That(use, Throws.InstanceOf<ObjectDisposedException>());
        }
        Assert.That(() => consumer.CommitAsync(batch), Throws.InstanceOf<ObjectDisposedException>());
        // What was kept is there, also when the consumer is not.
        await consumer.DisposeAsync();
        Assert.That(Encoding.UTF8.GetString(kept[0].Value), Is.EqualTo("0"));
        kept.Dispose();
    }

    [Test]
    public async Task ClientsThatAreForgottenAreFreedAndWhatTheyHadIsSent()
    {
        var topic = await Broker.TopicAsync();
        var before = NativeThreads();
        for (var i = 0; i < 20; i++)
        {
            await Forget(topic);
        }
        using var admin = new AdminClient(Broker.Address);
        var partition = new TopicPartition(topic, 0);
        await CollectUntil(
            async () => (await admin.ListOffsetsAsync(new[] { partition }, OffsetSpec.Latest))[partition].Offset == 40,
            "what was taken is not sent");
        await CollectUntil(() => Task.FromResult(NativeThreads() <= before + 1), $"native threads do not end: {NativeThreads()}, {before} before");
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static async Task Forget(string topic)
    {
        var producer = new Producer<string, string>(new ProducerOptions(Broker.Address) { LingerMs = 50 });
        producer.Send(topic, null, "value");
        // Nobody takes its result.
        _ = producer.SendAsync(topic, null, "value");
        var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        await consumer.PollAsync(TimeSpan.FromMilliseconds(1));
        await new AdminClient(Broker.Address).ListTopicsAsync();
    }

    [Test]
    public async Task ClientsAreDisposedOfInTheMidstOfWhatOthersDoWithThem()
    {
        var topic = await Broker.TopicAsync();
        for (var round = 0; round < 10; round++)
        {
            var producer = new Producer<string, string>(Broker.ProducerOptions);
            var options = Broker.ConsumerOptions;
            options.GroupId = Broker.Name("group");
            var consumer = new Consumer<string, string>(options);
            consumer.Subscribe(topic);
            var began = new CountdownEvent(4);
            var work = new List<Task>();
            for (var i = 0; i < 2; i++)
            {
                work.Add(Task.Run(() => UntilGone(began, async () => await producer.SendAsync(topic, null, "value"))));
                work.Add(Task.Run(() => UntilGone(began, async () =>
                {
                    using var batch = await consumer.PollAsync(TimeSpan.FromMilliseconds(5));
                    Assert.That(batch?.Records[0].Value ?? "value", Is.EqualTo("value"));
                    await consumer.CommitAsync();
                })));
            }
            Assert.That(began.Wait(TimeSpan.FromSeconds(30)));
            if (round % 2 == 0)
            {
                await producer.CloseAsync();
                await consumer.CloseAsync();
            }
            producer.Dispose();
            consumer.Dispose();
            Assert.That(await Task.WhenAny(Task.WhenAll(work), Task.Delay(30_000)), Is.Not.InstanceOf<Task<bool>>());
            Assert.That(work.All(task => task.IsCompletedSuccessfully), () => string.Join("\n", work.Select(task => task.Exception)));
        }
    }

    private static async Task UntilGone(CountdownEvent began, Func<Task> use)
    {
        var isFirst = true;
        while (true)
        {
            try
            {
                await use();
            }
            catch (Exception gone) when (gone is ObjectDisposedException or Errors.ClosedException or Errors.CancelledException)
            {
                return;
            }
            catch (KafkaException rebalancing) when (rebalancing.IsRetriable || rebalancing.Error == ErrorCode.RebalanceInProgress)
            {
            }
            catch (Errors.CommitFailedException)
            {
            }
            finally
            {
                if (isFirst)
                {
                    isFirst = false;
                    began.Signal();
                }
            }
        }
    }

    [Test]
    public async Task TokensRaceWithDeliveries()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        var outcomes = new ConcurrentDictionary<bool, int>();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(seed => Task.Run(async () =>
        {
            var random = new Random(seed);
            for (var i = 0; i < 2_000; i++)
            {
                using var cancelling = new CancellationTokenSource();
                var send = producer.SendAsync(topic, null, "value", cancelling.Token);
                if (random.Next(2) == 0)
                {
                    Thread.SpinWait(random.Next(20_000));
                }
                cancelling.Cancel();
                try
                {
                    var written = await send;
                    Assert.That(written.Topic, Is.EqualTo(topic));
                    outcomes.AddOrUpdate(true, 1, (_, count) => count + 1);
                }
                catch (OperationCanceledException)
                {
                    outcomes.AddOrUpdate(false, 1, (_, count) => count + 1);
                }
            }
        })));
        Assert.That(outcomes.Values.Sum(), Is.EqualTo(8_000));
        Assert.That(outcomes.GetValueOrDefault(false), Is.GreaterThan(0));
        // All were written, and operations are as good as new.
        await producer.FlushAsync(Broker.Patient());
        Assert.That((await producer.SendAsync(topic, null, "last")).Offset, Is.EqualTo(8_000));
    }

    [Test]
    public async Task AListenerThatThrowsIsHeardAndTheGroupGoesOn()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 1);
        var options = Broker.ConsumerOptions;
        options.GroupId = Broker.Name("group");
        var consumer = new Consumer<string, string>(options);
        consumer.Subscribe(new[] { topic }, new Throwing());
        Assert.That(async () => await consumer.PollAsync(TimeSpan.FromSeconds(20)), Throws.InstanceOf<NotSupportedException>());
        using var batch = await consumer.PollAsync(TimeSpan.FromSeconds(20));
        Assert.That(batch!.Count, Is.EqualTo(1));
        Assert.That(async () => await consumer.CloseAsync(), Throws.InstanceOf<NotSupportedException>());
        await consumer.DisposeAsync();
    }

    [Test]
    public async Task ALogSinkThatThrowsHarmsNobody()
    {
        var lines = new ConcurrentQueue<string>();
        OttlaLog.SetSink(OttlaLogLevel.Trace, (level, source, text) =>
        {
            lines.Enqueue($"{level} {source}: {text}");
            throw new InvalidOperationException("the sink is broken");
        });
        try
        {
            // A setting that does nothing is warned of.
            await using var producer = new Producer(new ProducerOptions(Broker.Address) { ["metric.reporters"] = "a.b.C" });
            await CollectUntil(() => Task.FromResult(!lines.IsEmpty), "nothing is logged");
        }
        finally
        {
            OttlaLog.SetSink(OttlaLogLevel.None, null);
        }
        Assert.That(lines.First(), Does.StartWith("Warning ottla").And.Contain("metric.reporters"));
    }

    [Test]
    public async Task ASendIsAwaitedOnce()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        var send = producer.SendAsync(topic, null, "value");
        await send;
        Assert.That(async () => await send, Throws.InstanceOf<InvalidOperationException>());
        Assert.That((await producer.SendAsync(topic, null, "value")).Offset, Is.EqualTo(1));
    }

    private static async Task CollectUntil(Func<Task<bool>> isSo, string what)
    {
        var patience = Broker.Patient();
        while (!await isSo())
        {
            Assert.That(patience.IsCancellationRequested, Is.False, what);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            await Task.Delay(10);
        }
    }

    private static int NativeThreads()
    {
        if (!OperatingSystem.IsLinux())
        {
            return 0;
        }
        static string Name(string task)
        {
            try
            {
                return File.ReadAllText(Path.Combine(task, "comm")).Trim();
            }
            catch (IOException)
            {
                return "";
            }
        }
        return Directory.GetDirectories("/proc/self/task").Count(task => Name(task).StartsWith("ottla-", StringComparison.Ordinal));
    }

    private sealed class Throwing : IRebalanceListener
    {
        public ValueTask OnAssignedAsync(IReadOnlyList<TopicPartition> partitions) => throw new NotSupportedException("assigned");

        public ValueTask OnRevokedAsync(IReadOnlyList<TopicPartition> partitions) => throw new NotSupportedException("revoked");
    }
}
