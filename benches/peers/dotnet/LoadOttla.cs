// Ours in .NET as a load: ../README.md says how it and its driver talk. With `--forget` nobody asks what becomes of a record, and values
// are looked at where they lie; without, every send is awaited, and values are arrays.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading.Tasks;
using Ottla;

// Sends that are on their way at once.
const int WindowMax = 10_000;

var flags = args.Skip(1).Select(text => text[2..].Split('=', 2)).ToDictionary(parts => parts[0], parts => parts.ElementAtOrDefault(1) ?? "");
var forget = flags.ContainsKey("forget");
switch (args[0])
{
    case "produce":
        await Produce();
        break;
    case "consume":
        await Consume();
        break;
    default:
        throw new ArgumentException($"there is no verb `{args[0]}`");
}

async Task Produce()
{
    var options = new ProducerOptions(flags["bootstrap"])
    {
        CompressionType = flags["codec"],
        LingerMs = Number("linger-ms", 5),
        BatchSize = Number("batch-bytes", 128 * 1024),
    };
    var value = new byte[Number("value-bytes", 100)];
    await using var producer = new Producer(options);
    // The connection, the producer id and the topic's metadata are there before the clock starts.
    await producer.SendAsync(flags["topic"], default, value);
    await Send(producer, value, Number("warm-up", 0));
    Tell("ready");
    var records = Number("records", 0);
    var allocated = GC.GetTotalAllocatedBytes();
    var began = Stopwatch.StartNew();
    await Send(producer, value, records);
    var seconds = began.Elapsed.TotalSeconds;
    Console.Error.WriteLine($"{(GC.GetTotalAllocatedBytes() - allocated) / (double)Math.Max(1, records):F1} bytes allocated for a record");
    Done(records, seconds);
}

async Task Send(Producer producer, byte[] value, int records)
{
    var topic = flags["topic"];
    if (forget)
    {
        for (var i = 0; i < records; i++)
        {
            producer.Send(topic, default, value);
        }
        await producer.FlushAsync();
        return;
    }
    var window = new ValueTask<RecordMetadata>[WindowMax];
    for (var i = 0; i < records; i++)
    {
        if (i >= WindowMax)
        {
            await window[i % WindowMax];
        }
        window[i % WindowMax] = producer.SendAsync(topic, default, value);
    }
    for (var i = Math.Max(0, records - WindowMax); i < records; i++)
    {
        await window[i % WindowMax];
    }
}

async Task Consume()
{
    if (Number("warm-up", 0) > 0)
    {
        await ReadTopic(-1);
    }
    Tell("ready");
    var began = Stopwatch.StartNew();
    var read = 0L;
    for (var pass = 0; pass < Number("passes", 1); pass++)
    {
        read += await ReadTopic(pass);
    }
    Done(read, began.Elapsed.TotalSeconds);
}

// Reads from the beginning until all records came.
async Task<long> ReadTopic(int pass)
{
    var options = new ConsumerOptions(flags["bootstrap"]) { AutoOffsetReset = "earliest", MaxPollRecords = 10_000 };
    var group = flags.GetValueOrDefault("group", "");
    if (group.Length > 0)
    {
        options.GroupId = $"{group}-{pass}";
    }
    await using var consumer = new Consumer<byte[], byte[]>(options);
    if (group.Length > 0)
    {
        consumer.Subscribe(flags["topic"]);
    }
    else
    {
        consumer.Assign(Enumerable.Range(0, Number("partitions", 6)).Select(number => new TopicPartition(flags["topic"], number)).ToArray());
    }
    var (records, bytes, read) = (Number("records", 0), Number("value-bytes", 100), 0L);
    await foreach (var batch in consumer.ReadBatchesAsync())
    {
        if (forget)
        {
            foreach (var record in batch)
            {
                Check(record.Value.Length, bytes);
            }
        }
        else
        {
            foreach (var record in batch.Records)
            {
                Check(record.Value!.Length, bytes);
            }
        }
        read += batch.Count;
        if (read >= records)
        {
            break;
        }
    }
    return read;
}

static void Check(int length, int bytes)
{
    if (length != bytes)
    {
        throw new InvalidOperationException($"a value of {length} bytes");
    }
}

int Number(string flag, int otherwise) => flags.TryGetValue(flag, out var text) ? int.Parse(text) : otherwise;

static void Done(long records, double seconds) => Tell(FormattableString.Invariant($"{{\"records\": {records}, \"wall_s\": {seconds}}}"));

// Prints a line and waits until the driver has looked at the clocks.
static void Tell(string line)
{
    Console.WriteLine(line);
    Console.ReadLine();
}
