// Shipping: reads invoices, and puts what was paid for onto a van. Several of these share the partitions.
//
//     dotnet run -- localhost:9092
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Ottla;

const int Vans = 7;
// How long it waits for records before it looks whether it is to end.
var pollTimeout = TimeSpan.FromMilliseconds(500);

var servers = args.Length > 0 ? args[0] : "localhost:9092";
using var ending = new ManualResetEventSlim();
using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal =>
{
    signal.Cancel = true;
    ending.Set();
});

var options = new ConsumerOptions(servers) { GroupId = "shipping", AutoOffsetReset = "earliest", EnableAutoCommit = false };
await using var producer = new Producer<string, string>(servers);
await using var consumer = new Consumer<string, string>(options);
consumer.Subscribe("invoices");
var (read, wrote) = (new Tally("read invoices"), new Tally("wrote shipments"));
while (!ending.IsSet)
{
    using var batch = await consumer.PollAsync(pollTimeout);
    if (batch is null)
    {
        continue;
    }
    var sends = new List<ValueTask<RecordMetadata>>();
    foreach (var invoice in batch.Records)
    {
        var shipment = $"{invoice.Value} van-{(invoice.Offset % Vans) + 1}";
        sends.Add(producer.SendAsync("shipments", invoice.Key!, shipment));
        read.Add(invoice.Value!);
        wrote.Add(shipment);
    }
    foreach (var send in sends)
    {
        await send;
    }
    // Only now: had it failed before, others would ship these again.
    await consumer.CommitAsync(batch);
    read.Say();
    wrote.Say();
}

/// <summary>What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order.</summary>
internal sealed class Tally
{
    private static readonly uint[] Table = Enumerable.Range(0, 256).Select(Row).ToArray();

    private readonly string _what;
    private long _count;
    private ulong _checksum;

    internal Tally(string what) => _what = what;

    internal void Add(string value)
    {
        var crc = uint.MaxValue;
        foreach (var each in Encoding.UTF8.GetBytes(value))
        {
            crc = Table[(byte)(crc ^ each)] ^ (crc >> 8);
        }
        _count++;
        _checksum += ~crc;
    }

    internal void Say() => Console.WriteLine($"{_what} {_count} {_checksum}");

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
