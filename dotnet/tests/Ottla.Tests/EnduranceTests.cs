using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

/// <summary>Many records, and memory stays as it is. <c>OTTLA_RECORDS=10000000</c> is the full form.</summary>
public sealed class EnduranceTests
{
    private const int WindowMax = 10_000;

    /// <summary>What a process may grow by once it has warmed up.</summary>
    private const long GrowthBytesMax = 64 << 20;

    /// <summary>As the managed heap is measured; an awaited send allocates nothing once operations are pooled.</summary>
    private const long AllocatedBytesPerRecordMax = 64;

    private static int Records => int.TryParse(Environment.GetEnvironmentVariable("OTTLA_RECORDS"), out var count) ? count : 200_000;

    [Test]
    public async Task MemoryIsFlatWhileManyRecordsAreSentAndRead()
    {
        var topic = await Broker.TopicAsync();
        using (var admin = new AdminClient(Broker.Address))
        {
            await admin.AlterConfigAsync(ConfigResource.Topic(topic), new Dictionary<string, string?> { ["retention.bytes"] = "200000000" });
        }
        await using var producer = new Producer(new ProducerOptions(Broker.Address));
        await using var consumer = new Consumer<byte[], byte[]>(Broker.ConsumerOptions);
        consumer.Assign(new TopicPartition(topic, 0));
        var value = new byte[100];
        var quarter = Records / 4;
        var (warm, allocated) = (0L, 0L);
        for (var round = 0; round < 4; round++)
        {
            var before = GC.GetTotalAllocatedBytes();
            await Send(producer, topic, value, quarter);
            allocated = GC.GetTotalAllocatedBytes() - before;
            await Read(consumer, quarter);
            GC.Collect();
            if (round == 1)
            {
                warm = Memory();
            }
        }
        Assert.That(Memory() - warm, Is.LessThan(GrowthBytesMax));
        Assert.That(allocated / quarter, Is.LessThan(AllocatedBytesPerRecordMax));
    }

    private static async Task Send(Producer producer, string topic, byte[] value, int count)
    {
        var window = new ValueTask<RecordMetadata>[Math.Min(WindowMax, count)];
        for (var sent = 0; sent < count;)
        {
            var underway = Math.Min(window.Length, count - sent);
            for (var i = 0; i < underway; i++)
            {
                window[i] = producer.SendAsync(topic, default, value);
            }
            for (var i = 0; i < underway; i++)
            {
                await window[i];
            }
            sent += underway;
        }
    }

    private static async Task Read(Consumer<byte[], byte[]> consumer, int count)
    {
        var bytes = 0L;
        var read = 0;
        await foreach (var batch in consumer.ReadBatchesAsync(500, Broker.Patient()))
        {
            foreach (var record in batch)
            {
                bytes += record.Value.Length;
            }
            read += batch.Count;
            if (read >= count)
            {
                break;
            }
        }
        Assert.That((read, bytes), Is.EqualTo((count, count * 100L)));
    }

    private static long Memory()
    {
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
