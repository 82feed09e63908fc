// A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
//
//     dotnet run -- localhost:9092 orders dotnet 20000 20000
using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Ottla;

// Orders that are on their way at once.
const int UnderwayMax = 1_000;

if (args.Length != 5)
{
    Console.Error.WriteLine("usage: one_bus <bootstrap servers> <topic> <name> <orders to send> <orders to read>");
    return 2;
}
var (servers, topic, name) = (args[0], args[1], args[2]);
var reading = Task.Run(() => Read(long.Parse(args[4])));
var sent = await Send(long.Parse(args[3]));
var read = await reading;
Console.WriteLine($"total sent {sent.Count} {sent.Checksum}");
Console.WriteLine($"total read {read.Count} {read.Checksum}");
return 0;

async Task<Total> Send(long orders)
{
    var total = new Total();
    await using var producer = new Producer<string, string>(servers);
    while (total.Count < orders)
    {
        var underway = new List<ValueTask<RecordMetadata>>();
        while (underway.Count < UnderwayMax && total.Count < orders)
        {
            var key = $"{name}-{total.Count}";
            var value = $"{key}: {(total.Count % 12) + 1} apples";
            underway.Add(producer.SendAsync(topic, key, value));
            total.Add(Encoding.UTF8.GetBytes(value));
        }
        foreach (var send in underway)
        {
            await send;
        }
        Console.WriteLine($"sent {total.Count}");
    }
    return total;
}

async Task<Total> Read(long orders)
{
    var total = new Total();
    var options = new ConsumerOptions(servers) { GroupId = name, AutoOffsetReset = "earliest" };
    await using var consumer = new Consumer<string, string>(options);
    consumer.Subscribe(topic);
    await foreach (var batch in consumer.ReadBatchesAsync())
    {
        foreach (var record in batch)
        {
            total.Add(record.Value);
        }
        Console.WriteLine($"read {total.Count}");
        if (total.Count >= orders)
        {
            break;
        }
    }
    return total;
}

internal sealed class Total
{
    private static readonly uint[] Table = Enumerable.Range(0, 256).Select(Row).ToArray();

    internal long Count { get; private set; }

    internal ulong Checksum { get; private set; }

    internal void Add(ReadOnlySpan<byte> value)
    {
        var crc = uint.MaxValue;
        foreach (var each in value)
        {
            crc = Table[(byte)(crc ^ each)] ^ (crc >> 8);
        }
        Count++;
        Checksum += ~crc;
    }

    private static uint Row(int number)
    {
        var row = (uint)number;
        for (var bit = 0; bit < 8; bit++)
        {
            row = (row & 1) == 0 ? row >> 1 : 0xEDB88320 ^ (row >> 1);
        }
        return row;
    }
}
