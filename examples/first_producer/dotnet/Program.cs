// Writes a few records and says where they are.
//
//     dotnet run -- localhost:9092 greetings
using System;
using System.Linq;
using System.Threading.Tasks;
using Ottla;

var address = args.Length > 0 ? args[0] : "localhost:9092";
var topic = args.Length > 1 ? args[1] : "greetings";

await using var producer = new Producer<string, string>(address);
var headers = new Headers().Add("language", "dotnet");
var sends = new[] { "Ada", "Grace", "Barbara" }
    .Select(name => new ProducerRecord<string, string>(topic, name, $"hello, {name}") { Headers = headers })
    .Select(record => producer.SendAsync(record).AsTask());
foreach (var written in await Task.WhenAll(sends))
{
    Console.WriteLine($"written to {written.TopicPartition} at offset {written.Offset}");
}
