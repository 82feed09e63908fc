// A member of a group: reads what the group gives it until nothing has come for two seconds, commits what it is done with, and is told of
// rebalances.
//
//     dotnet run -- localhost:9092 greetings
using System;
using System.Collections.Generic;
using System.Threading.Tasks;
using Ottla;

var address = args.Length > 0 ? args[0] : "localhost:9092";
var topic = args.Length > 1 ? args[1] : "greetings";

var options = new ConsumerOptions(address) { GroupId = topic, AutoOffsetReset = "earliest", EnableAutoCommit = false };
await using var consumer = new Consumer<string, string>(options);
consumer.Subscribe(new[] { topic }, new Told());
var patience = TimeSpan.FromSeconds(10);
while (await consumer.PollAsync(patience) is { } batch)
{
    using (batch)
    {
        foreach (var record in batch.Records)
        {
            Console.WriteLine(record.Value);
        }
        await consumer.CommitAsync(batch);
    }
    patience = TimeSpan.FromSeconds(2);
}

internal sealed class Told : IRebalanceListener
{
    public ValueTask OnAssignedAsync(IReadOnlyList<TopicPartition> partitions)
    {
        Console.WriteLine($"assigned: {string.Join(", ", partitions)}");
        return default;
    }

    public ValueTask OnRevokedAsync(IReadOnlyList<TopicPartition> partitions)
    {
        Console.WriteLine($"revoked: {string.Join(", ", partitions)}");
        return default;
    }
}
