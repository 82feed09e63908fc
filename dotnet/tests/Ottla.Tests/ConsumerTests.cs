using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

public sealed class ConsumerTests
{
    [Test]
    public async Task BatchesAreReadWhereTheyLie()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 1000);
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var next = 0;
        await foreach (var batch in consumer.ReadBatchesAsync(300, Broker.Patient()))
        {
            Assert.That(batch.Count, Is.InRange(1, 300));
            foreach (var record in batch)
            {
                Assert.That(record.IsKeyNull);
                Assert.That(Encoding.UTF8.GetString(record.Value), Is.EqualTo(next.ToString()));
                Assert.That(record.Offset, Is.EqualTo(next++));
            }
            Assert.That(batch.NextOffset, Is.EqualTo(next));
            if (next == 1000)
            {
                Assert.That(batch.HighWatermark, Is.EqualTo(1000));
                break;
            }
        }
    }

    [Test]
    public async Task WhatALoopDidNotComeToIsGivenAgain()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 20);
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var first = await ProducerTests.Read(consumer, 5);
        var second = await ProducerTests.Read(consumer, 5);
        var rest = await ProducerTests.Read(consumer, 10);
        var all = first.Concat(second).Concat(rest).Select(record => record.Offset);
        Assert.That(all, Is.EqualTo(Enumerable.Range(0, 20).Select(i => (long)i)));
    }

    [Test]
    public async Task SeekingWithinALoopGoesElsewhere()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 10);
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        var partition = new TopicPartition(topic, 0);
        consumer.Assign(partition);
        var offsets = new List<long>();
        await foreach (var record in consumer.WithCancellation(Broker.Patient()))
        {
            offsets.Add(record.Offset);
            if (offsets.Count == 2)
            {
                consumer.Seek(new TopicPartitionOffset(partition, 7));
            }
            if (offsets.Count == 5)
            {
                break;
            }
        }
        Assert.That(offsets, Is.EqualTo(new long[] { 0, 1, 7, 8, 9 }));
    }

    [Test]
    public async Task SeekingWithinALoopToWhereItsBatchEndsLeavesTheRestOut()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 10);
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        var partition = new TopicPartition(topic, 0);
        consumer.Assign(partition);
        var offsets = new List<long>();
        await foreach (var record in consumer.WithCancellation(Broker.Patient()))
        {
            offsets.Add(record.Offset);
            if (offsets.Count == 2)
            {
                consumer.Seek(new TopicPartitionOffset(partition, 10));
                await Broker.FillAsync(topic, 1);
            }
            if (offsets.Count == 3)
            {
                break;
            }
        }
        Assert.That(offsets, Is.EqualTo(new long[] { 0, 1, 10 }));
    }

    [Test]
    public async Task AMemberCommitsWhatALoopHasComeTo()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 10);
        var group = Broker.Name("group");
        var partition = new TopicPartition(topic, 0);
        ConsumerOptions Options(bool commits)
        {
            var options = Broker.ConsumerOptions;
            options.GroupId = group;
            options.EnableAutoCommit = commits;
            return options;
        }
        await using (var consumer = new Consumer<string, string>(Options(false)))
        {
            consumer.Subscribe(topic);
            await ProducerTests.Read(consumer, 3);
            await consumer.CommitAsync(Broker.Patient());
            Assert.That((await consumer.GetCommittedAsync(new[] { partition }))[partition].Offset, Is.EqualTo(3));
            var record = (await ProducerTests.Read(consumer, 1))[0];
            await consumer.CommitAsync(record, Broker.Patient());
            Assert.That((await consumer.GetCommittedAsync(new[] { partition }))[partition].Offset, Is.EqualTo(4));
        }
        await using (var consumer = new Consumer<string, string>(Options(true)))
        {
            consumer.Subscribe(topic);
            var next = await ProducerTests.Read(consumer, 3);
            Assert.That(next[0].Offset, Is.EqualTo(4));
        }
        using var admin = new AdminClient(Broker.Address);
        Assert.That((await admin.GetGroupOffsetsAsync(group))[partition].Offset, Is.EqualTo(7));
    }

    [Test]
    public async Task RebalancesAreToldWhereRecordsAreAskedFor()
    {
        var topic = await Broker.TopicAsync(2);
        var options = Broker.ConsumerOptions;
        options.GroupId = Broker.Name("group");
        var told = new Told();
        await using (var consumer = new Consumer<string, string>(options))
        {
            consumer.Subscribe(new[] { topic }, told);
            await Until(consumer, () => told.Assigned.Count == 2);
            await using var other = new Consumer<string, string>(options);
            other.Subscribe(topic);
            await Until(consumer, () =>
            {
                using var nothing = other.Poll(TimeSpan.Zero);
                return told.Revoked.Count == 1 && other.Assignment.Count == 1;
            });
            Assert.That(consumer.Assignment.Concat(other.Assignment).Distinct().Count(), Is.EqualTo(2));
        }
        Assert.That(told.Revoked.Count, Is.GreaterThanOrEqualTo(2));
    }

    [Test]
    public async Task AWaitIsGivenUpAndNothingIsLost()
    {
        var topic = await Broker.TopicAsync();
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        using var soon = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        Assert.That(async () => await consumer.PollAsync(Timeout.InfiniteTimeSpan, soon.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(await consumer.PollAsync(TimeSpan.FromMilliseconds(50)), Is.Null);
        await Broker.FillAsync(topic, 1);
        using var batch = await consumer.PollAsync(Timeout.InfiniteTimeSpan, Broker.Patient());
        Assert.That(batch!.Records[0].Value, Is.EqualTo("0"));
    }

    [Test]
    public async Task ClosingEndsALoop()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 3);
        var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var count = 0;
        await foreach (var record in consumer.WithCancellation(Broker.Patient()))
        {
            if (++count == 3)
            {
                _ = Task.Run(async () => await consumer.CloseAsync());
            }
        }
        Assert.That(count, Is.EqualTo(3));
        Assert.That(async () => await consumer.PollAsync(TimeSpan.FromSeconds(5)), Throws.InstanceOf<Errors.ClosedException>());
        await consumer.DisposeAsync();
        Assert.That(() => consumer.Assignment, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task ARecordThatCannotBeReadIsNamedAndNotPassedOver()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 2);
        await using var consumer = new Consumer<string, long>(Broker.ConsumerOptions);
        var partition = new TopicPartition(topic, 0);
        consumer.Assign(partition);
        for (var i = 0; i < 2; i++)
        {
            var failure = Assert.ThrowsAsync<SerializationException>(async () => await ProducerTests.Read(consumer, 1))!;
            Assert.That((failure.TopicPartition, failure.Offset), Is.EqualTo(((TopicPartition?)partition, 0L)));
        }
        consumer.Seek(new TopicPartitionOffset(partition, 1));
        Assert.That(Assert.ThrowsAsync<SerializationException>(async () => await ProducerTests.Read(consumer, 1))!.Offset, Is.EqualTo(1));
    }

    [Test]
    public async Task PausingPositionsAndTimes()
    {
        var topic = await Broker.TopicAsync(2);
        var partition = new TopicPartition(topic, 0);
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        var began = DateTimeOffset.UtcNow.AddSeconds(-100);
        for (var i = 0; i < 3; i++)
        {
            var time = began.AddSeconds(i);
            await producer.SendAsync(new ProducerRecord<string, string>(topic, null, i.ToString()) { Partition = 0, Timestamp = time });
        }
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(partition, new TopicPartition(topic, 1));
        consumer.Pause(partition);
        Assert.That(consumer.Paused, Is.EqualTo(new[] { partition }));
        Assert.That(await consumer.PollAsync(TimeSpan.FromMilliseconds(200)), Is.Null);
        consumer.Resume(partition);
        Assert.That(await ProducerTests.Read(consumer, 1), Has.Count.EqualTo(1));
        consumer.Seek(partition, OffsetSpec.Latest);
        var latest = await consumer.GetOffsetsAsync(new[] { partition }, OffsetSpec.Latest);
        Assert.That(latest[partition].Offset, Is.EqualTo(3));
        var at = await consumer.GetOffsetsAsync(new[] { partition }, OffsetSpec.At(began.AddSeconds(0.5)));
        Assert.That(at[partition].Offset, Is.EqualTo(1));
        var never = await consumer.GetOffsetsAsync(new[] { partition }, OffsetSpec.At(DateTimeOffset.UtcNow.AddDays(1)));
        Assert.That(never, Is.Empty);
    }

    private static async Task Until(Consumer<string, string> consumer, Func<bool> isSo)
    {
        var patience = Broker.Patient();
        while (!isSo())
        {
            using var batch = await consumer.PollAsync(TimeSpan.FromMilliseconds(20), patience);
            patience.ThrowIfCancellationRequested();
        }
    }

    private sealed class Told : IRebalanceListener
    {
        internal List<TopicPartition> Assigned { get; } = new();

        internal List<TopicPartition> Revoked { get; } = new();

        public async ValueTask OnAssignedAsync(IReadOnlyList<TopicPartition> partitions)
        {
            await Task.Yield();
            Assigned.AddRange(partitions);
        }

        public ValueTask OnRevokedAsync(IReadOnlyList<TopicPartition> partitions)
        {
            Revoked.AddRange(partitions);
            return default;
        }
    }
}
