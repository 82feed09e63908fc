// Reads a topic's partition from its beginning, until nothing has come for two seconds.
//
//     dotnet run -- localhost:9092 greetings
using System;
using Ottla;

var address = args.Length > 0 ? args[0] : "localhost:9092";
var topic = args.Length > 1 ? args[1] : "greetings";

await using var consumer = new Consumer<string, string>(new ConsumerOptions(address) { AutoOffsetReset = "earliest" });
consumer.Assign(new TopicPartition(topic, 0));
var patience = TimeSpan.FromSeconds(10);
while (await consumer.PollAsync(patience) is { } batch)
{
    using (batch)
    {
        foreach (var record in batch.Records)
        {
            Console.WriteLine($"{record.Offset}: {record.Value}");
        }
    }
    patience = TimeSpan.FromSeconds(2);
}
