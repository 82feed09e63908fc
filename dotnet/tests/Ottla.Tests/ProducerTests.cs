using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

public sealed class ProducerTests
{
    [Test]
    public async Task AnAwaitedSendTellsWhereTheRecordIs()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        var first = await producer.SendAsync(topic, "42", "two apples");
        var second = await producer.SendAsync(topic, "42", "a plum");
        Assert.That(first, Is.EqualTo(new RecordMetadata(topic, 0, 0, first.TimestampMs)));
        Assert.That(second.Offset, Is.EqualTo(1));
        Assert.That(first.Timestamp, Is.EqualTo(DateTimeOffset.UtcNow).Within(TimeSpan.FromMinutes(1)));
    }

    [Test]
    public async Task ManySendsAtOnceKeepTheirOrder()
    {
        const int Count = 20_000;
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer(Broker.ProducerOptions);
        var sends = Enumerable.Range(0, Count).Select(i => producer.SendAsync(topic, default, BitConverter.GetBytes(i)).AsTask()).ToList();
        var written = await Task.WhenAll(sends);
        Assert.That(written.Select(w => w.Offset), Is.EqualTo(Enumerable.Range(0, Count).Select(i => (long)i)));
    }

    [Test]
    public async Task NullAndEmptyStayApart()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<byte[], byte[]>(Broker.ProducerOptions);
        await producer.SendAsync(topic, null, null);
        await producer.SendAsync(topic, Array.Empty<byte>(), Array.Empty<byte>());
        producer.Send(topic, default(ReadOnlySpan<byte>), new ReadOnlySpan<byte>(Array.Empty<byte>()));
        await producer.FlushAsync();
        await using var consumer = new Consumer<byte[], byte[]>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var read = await Read(consumer, 3);
        Assert.That(read.Select(r => r.Key?.Length), Is.EqualTo(new int?[] { null, 0, null }));
        Assert.That(read.Select(r => r.Value?.Length), Is.EqualTo(new int?[] { null, 0, 0 }));
    }

    [Test]
    public async Task HeadersPartitionsAndTimesGoAlong()
    {
        var topic = await Broker.TopicAsync(3);
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        var headers = new Headers().Add("trace", "7f3a").Add("trace", new byte[] { 0, 255 }).Add("nothing", (byte[]?)null).Add("größe", new byte[700]);
        var time = DateTimeOffset.FromUnixTimeMilliseconds(1_760_000_000_000);
        var record = new ProducerRecord<string, string>(topic, "k", "v") { Headers = headers, Partition = 2, Timestamp = time };
        Assert.That((await producer.SendAsync(record)).Partition, Is.EqualTo(2));
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 2));
        var read = (await Read(consumer, 1))[0];
        Assert.That(read.Timestamp, Is.EqualTo(time));
        Assert.That(read.Headers.Select(h => h.Name), Is.EqualTo(new[] { "trace", "trace", "nothing", "größe" }));
        Assert.That(read.Headers[1].Value, Is.EqualTo(new byte[] { 0, 255 }));
        Assert.That(read.Headers[2].Value, Is.Null);
        Assert.That(read.Headers[3].Value, Has.Length.EqualTo(700));
    }

    [Test]
    public async Task WhatABrokerRefusesHasAClassOfItsOwn()
    {
        var topic = Broker.Name("small");
        using var admin = new AdminClient(Broker.Address);
        await admin.CreateTopicsAsync(new[] { new NewTopic(topic, 1) { Config = { ["max.message.bytes"] = "1000" } } });
        await using var producer = new Producer(Broker.ProducerOptions);
        var failure = Assert.ThrowsAsync<Errors.MessageTooLargeException>(
            async () => await producer.SendAsync(topic, default, new byte[5000]))!;
        Assert.That(failure, Is.InstanceOf<KafkaException>());
        Assert.That((failure.Error, failure.Code, failure.Name), Is.EqualTo((ErrorCode.MessageTooLarge, 10, "MESSAGE_TOO_LARGE")));
        Assert.That(failure.IsRetriable, Is.False);
        Assert.That((await producer.SendAsync(topic, default, new byte[50])).Offset, Is.EqualTo(0));
    }

    [Test]
    public void WrongSettingsAreRefusedWithASuggestion()
    {
        var failure = Assert.Throws<Errors.ConfigException>(() => _ = new Producer(new ProducerOptions(Broker.Address) { ["linger.sm"] = "5" }))!;
        Assert.That(failure.Message, Does.Contain("linger.ms"));
        Assert.That(Assert.Throws<Errors.ConfigException>(() => _ = new Producer(new ProducerOptions())), Is.Not.Null);
        Assert.That(Assert.Throws<ArgumentException>(() => _ = new Producer<Version, string>(Broker.ProducerOptions)), Is.Not.Null);
    }

    [Test]
    public async Task ASerializerThatFailsSendsNothing()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, int>(Broker.ProducerOptions, valueSerializer: new Odd());
        var failure = Assert.Throws<SerializationException>(() => _ = producer.SendAsync(topic, "k", 2))!;
        Assert.That(failure.InnerException, Is.InstanceOf<InvalidOperationException>());
        Assert.That((await producer.SendAsync(topic, "k", 3)).Offset, Is.EqualTo(0));
    }

    [Test]
    public async Task AGivenUpSendIsWrittenAllTheSameAndItsOperationUsedAgain()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, string>(new ProducerOptions(Broker.Address) { LingerMs = 60_000 });
        // Known, so that it is taken at once.
        await producer.GetPartitionCountAsync(topic, Broker.Patient());
        var givenUp = 0;
        for (var i = 0; i < 50; i++)
        {
            using var cancelling = new CancellationTokenSource();
            var send = producer.SendAsync(topic, null, "v", cancelling.Token);
            cancelling.Cancel();
            try
            {
                // Linger or not, one that is sent at once may be there by now.
                await send;
            }
            catch (OperationCanceledException)
            {
                givenUp++;
            }
        }
        Assert.That(givenUp, Is.GreaterThan(0));
        await producer.FlushAsync(Broker.Patient());
        var last = producer.SendAsync(topic, null, "last");
        await producer.FlushAsync(Broker.Patient());
        Assert.That((await last).Offset, Is.EqualTo(50));
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        Assert.That(async () => await producer.SendAsync(topic, null, "never", cancelled.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public async Task AFullBufferSaysSo()
    {
        var options = new ProducerOptions("127.0.0.1:1") { MaxBlockMs = 200, DeliveryTimeoutMs = 2000, RequestTimeoutMs = 1000, LingerMs = 0 };
        await using var producer = new Producer(options);
        Assert.That(producer.TrySend("nowhere", default, new byte[10]), Is.False);
        Assert.That(async () => await producer.SendAsync("nowhere", default, new byte[10]), Throws.InstanceOf<OttlaException>());
        Assert.That(() => producer.Send("nowhere", default, new byte[10]), Throws.InstanceOf<OttlaException>());
    }

    [Test]
    public async Task ClosingSendsWhatWasTaken()
    {
        var topic = await Broker.TopicAsync();
        var producer = new Producer<string, string>(new ProducerOptions(Broker.Address) { LingerMs = 60_000 });
        var send = producer.SendAsync(topic, null, "v");
        await producer.CloseAsync(TimeSpan.FromSeconds(20), Broker.Patient());
        Assert.That((await send).Offset, Is.EqualTo(0));
        await producer.CloseAsync();
        Assert.That(async () => await producer.SendAsync(topic, null, "late"), Throws.InstanceOf<Errors.ClosedException>());
        producer.Dispose();
        await producer.DisposeAsync();
        Assert.That(() => producer.Send(topic, null, "later"), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task MetricsCountWhatWasSent()
    {
        var topic = await Broker.TopicAsync();
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        await producer.SendAsync(topic, null, "v");
        Assert.That(producer.GetMetrics()["record-send-total"], Is.EqualTo(1));
    }

    [Test]
    public async Task ASpanGoesWithARecord()
    {
        var topic = await Broker.TopicAsync();
        var ended = new List<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Ottla",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activity => { lock (ended) { ended.Add(activity); } },
        };
        ActivitySource.AddActivityListener(listener);
        await using var producer = new Producer<string, string>(Broker.ProducerOptions);
        await producer.SendAsync(topic, null, "v");
        await using var consumer = new Consumer<string, string>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var record = (await Read(consumer, 1))[0];
        using (var processing = record.StartActivity())
        {
            var send = ended.Single(activity => activity.OperationName == "send " + topic);
            Assert.That(processing!.ParentId, Is.EqualTo(send.Id));
            Assert.That(send.GetTagItem("messaging.kafka.offset"), Is.EqualTo(0L));
        }
    }

    internal static async Task<List<ConsumerRecord<TKey, TValue>>> Read<TKey, TValue>(Consumer<TKey, TValue> consumer, int count)
    {
        var read = new List<ConsumerRecord<TKey, TValue>>();
        await foreach (var record in consumer.WithCancellation(Broker.Patient()))
        {
            read.Add(record);
            if (read.Count == count)
            {
                break;
            }
        }
        return read;
    }

    private sealed class Odd : ISerializer<int>
    {
        public void Serialize(int value, System.Buffers.IBufferWriter<byte> writer, SerializationContext context)
        {
            if (value % 2 == 0)
            {
                throw new InvalidOperationException("it is even");
            }
            Serdes.Int32.Serialize(value, writer, context);
        }
    }
}
