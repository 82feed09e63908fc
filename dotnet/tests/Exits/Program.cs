// Ends in the midst of everything, in the way that is asked for; `ExitTests` looks at how that goes.
using System;
using System.Threading;
using System.Threading.Tasks;
using Ottla;

var (how, address, topic) = (args[0], args[1], args[2]);
OttlaLog.SetSink(OttlaLogLevel.Trace, static (_, _, _) => { });
var producer = new Producer<string, string>(address);
var consumer = new Consumer<string, string>(new ConsumerOptions(address) { GroupId = topic, AutoOffsetReset = "earliest" });
consumer.Subscribe(topic);
await producer.SendAsync(topic, null, "first");

var isReading = new TaskCompletionSource();
_ = Task.Run(async () =>
{
    await foreach (var record in consumer)
    {
        isReading.TrySetResult();
    }
});
for (var i = 0; i < 2; i++)
{
    _ = Task.Run(async () =>
    {
        while (true)
        {
            await producer.SendAsync(topic, null, "more");
        }
    });
}
await isReading.Task.WaitAsync(TimeSpan.FromSeconds(30));
// A batch that nobody frees, for the finalizers.
_ = await new Consumer<string, string>(new ConsumerOptions(address)).PollAsync(TimeSpan.Zero);
Console.WriteLine("in the midst");
switch (how)
{
    case "return":
        return 0;
    case "exit":
        Environment.Exit(7);
        return 1;
    case "thread":
        new Thread(() => Environment.Exit(7)).Start();
        Thread.Sleep(Timeout.Infinite);
        return 1;
    case "dispose":
        await producer.DisposeAsync();
        await consumer.DisposeAsync();
        return 0;
    default:
        throw new InvalidOperationException("it was asked for");
}
