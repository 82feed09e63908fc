// The runner of .NET: the package, as a program would use it.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Ottla;

internal static class Runner
{
    /// How long is waited where a step does not say.
    internal const int PatienceMs = 30_000;

    internal static readonly TimeSpan Look = TimeSpan.FromMilliseconds(10);

    private static readonly Dictionary<string, IClient> Clients = new();

    private static async Task Main()
    {
        using var input = new StreamReader(Console.OpenStandardInput(), Encoding.UTF8);
        using var output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false)) { NewLine = "\n" };
        while (await input.ReadLineAsync() is { } line)
        {
            foreach (var answer in await Answer(line))
            {
                output.WriteLine(answer);
            }
            output.Flush();
        }
    }

    private static async Task<List<string>> Answer(string line)
    {
        var told = new List<string>();
        try
        {
            var said = await Do(new Step(line), told);
            told.Add(Line.Of("ok", said));
        }
        catch (Exception failure)
        {
            told.Clear();
            told.Add(Refused(failure));
        }
        return told;
    }

    private static async Task<Dictionary<string, object?>> Do(Step step, List<string> told)
    {
        var name = step.Need("client");
        switch (step.Verb)
        {
            case "producer":
                Clients[name] = new ProducerSteps(new Producer<byte[], byte[]>(step.Set(new ProducerOptions())));
                break;
            case "consumer":
                var options = step.Set(new ConsumerOptions());
                // A record counts as done when the next is asked for, as scenarios have it.
                options.MaxPollRecords ??= 1;
                Clients[name] = new ConsumerSteps(new Consumer<byte[], byte[]>(options));
                break;
            case "admin":
                Clients[name] = new AdminSteps(new AdminClient(step.Set(new AdminOptions())));
                break;
            default:
                return await Clients[name].Do(step, told);
        }
        return new();
    }

    private static string Refused(Exception failure)
    {
        var pairs = new Dictionary<string, object?>();
        if (failure is OttlaException ours)
        {
            pairs["name"] = ours.Name;
            pairs["code"] = ours.Code;
            pairs["retriable"] = Line.Text(ours.IsRetriable);
            pairs["fatal"] = Line.Text(ours.IsFatal);
        }
        else
        {
            pairs["name"] = failure is UnknownVerb ? "UNKNOWN_VERB" : "RUNNER";
        }
        pairs["message"] = failure is OttlaException ? failure.Message : failure.ToString();
        return Line.Of("error", pairs);
    }
}

internal interface IClient
{
    Task<Dictionary<string, object?>> Do(Step step, List<string> told);
}

internal sealed class UnknownVerb : Exception
{
    internal UnknownVerb(string verb)
        : base($"there is no verb `{verb}`")
    {
    }
}

internal sealed class ProducerSteps : IClient
{
    private readonly Producer<byte[], byte[]> _producer;
    private List<Task<RecordMetadata>> _later = new();

    internal ProducerSteps(Producer<byte[], byte[]> producer) => _producer = producer;

    public async Task<Dictionary<string, object?>> Do(Step step, List<string> told)
    {
        switch (step.Verb)
        {
            case "send":
                var written = await Send(step);
                return new() { ["partition"] = written.Partition, ["offset"] = written.Offset, ["timestamp"] = written.TimestampMs };
            case "send_later":
                _later.Add(Send(step).AsTask());
                break;
            case "send_many":
                return await Outcomes(Many(step));
            case "outcomes":
                var sent = _later;
                _later = new();
                return await Outcomes(sent);
            case "flush":
                _producer.Flush(step.Patience);
                break;
            case "close":
                await _producer.CloseAsync(step.Patience);
                break;
            default:
                throw new UnknownVerb(step.Verb);
        }
        return new();
    }

    private ValueTask<RecordMetadata> Send(Step step) => _producer.SendAsync(
        new ProducerRecord<byte[], byte[]>(step.Need("topic"), step.Bytes("key"), step.Bytes("value"))
        {
            Headers = step.Headers(),
            Partition = step.Has("partition") ? step.Number("partition", 0) : null,
            Timestamp = step.Has("timestamp") ? DateTimeOffset.FromUnixTimeMilliseconds(long.Parse(step.Need("timestamp"))) : null,
        });

    private List<Task<RecordMetadata>> Many(Step step)
    {
        var keys = step.Number("keys", 0);
        int? partition = step.Has("partition") ? step.Number("partition", 0) : null;
        var sent = new List<Task<RecordMetadata>>();
        for (var number = 0; number < step.Number("count", 0); number++)
        {
            var key = keys == 0 ? null : Encoding.UTF8.GetBytes($"key-{number % keys}");
            var value = Encoding.UTF8.GetBytes($"{number:D10}".PadRight(step.Number("value_bytes", 0), 'x'));
            var record = new ProducerRecord<byte[], byte[]>(step.Need("topic"), key, value) { Partition = partition };
            sent.Add(_producer.SendAsync(record).AsTask());
        }
        return sent;
    }

    private static async Task<Dictionary<string, object?>> Outcomes(List<Task<RecordMetadata>> sent)
    {
        // One that was not taken, for want of room, is a failure of the step, and the others are not waited for.
        var all = Task.WhenAll(sent);
        var refused = new TaskCompletionSource<bool>();
        foreach (var task in sent)
        {
            _ = task.ContinueWith(
                ended =>
                {
                    if (ended.Exception?.InnerException is Ottla.Errors.QueueFullException failure)
                    {
                        refused.TrySetException(failure);
                    }
                },
                TaskScheduler.Default);
        }
        if (await Task.WhenAny(all, refused.Task) == refused.Task)
        {
            await refused.Task;
        }
        var failures = sent.Where(task => task.IsFaulted).Select(task => task.Exception!.InnerException!).ToList();
        if (failures.FirstOrDefault(failure => failure is Ottla.Errors.QueueFullException) is { } full)
        {
            throw full;
        }
        return new()
        {
            ["acknowledged"] = sent.Count - failures.Count,
            ["failed"] = failures.Count,
            ["error"] = (failures.FirstOrDefault() as OttlaException)?.Name,
        };
    }
}

internal sealed class ConsumerSteps : IClient
{
    private readonly Consumer<byte[], byte[]> _consumer;

    /// What was read and not asked for yet.
    private readonly LinkedList<ConsumerRecord<byte[], byte[]>> _inHand = new();

    internal ConsumerSteps(Consumer<byte[], byte[]> consumer) => _consumer = consumer;

    public async Task<Dictionary<string, object?>> Do(Step step, List<string> told)
    {
        switch (step.Verb)
        {
            case "poll":
                return new() { ["count"] = await Poll(step, told) };
            case "assign":
                _consumer.Assign(step.Need("partitions").Split(',').Select(Step.PlaceAt));
                break;
            case "subscribe":
                _consumer.Subscribe(step.Need("topics").Split(','));
                break;
            case "subscribe_pattern":
                _consumer.SubscribePattern(step.Need("pattern"));
                break;
            case "unsubscribe":
                await _consumer.UnsubscribeAsync();
                break;
            case "seek":
                Seek(step);
                break;
            case "pause":
                _consumer.Pause(step.Partitions);
                break;
            case "resume":
                _consumer.Resume(step.Partitions);
                break;
            case "position":
                return new() { ["offset"] = await Position(step) };
            case "commit":
                if (step.Has("offset"))
                {
                    var at = new OffsetAndMetadata(long.Parse(step.Need("offset")));
                    await _consumer.CommitAsync(new Dictionary<TopicPartition, OffsetAndMetadata> { [step.Partition] = at });
                }
                else
                {
                    await _consumer.CommitAsync();
                }
                break;
            case "committed":
                var committed = await _consumer.GetCommittedAsync(new[] { step.Partition });
                return committed.TryGetValue(step.Partition, out var found) ? new() { ["offset"] = found.Offset } : new();
            case "await_assignment":
                return new() { ["partitions"] = await Assignment(step) };
            case "offset_for_time":
                var time = OffsetSpec.At(DateTimeOffset.FromUnixTimeMilliseconds(long.Parse(step.Need("timestamp"))));
                var listed = await _consumer.GetOffsetsAsync(new[] { step.Partition }, time);
                return listed.TryGetValue(step.Partition, out var place) ? new() { ["offset"] = place.Offset } : new();
            case "watermarks":
                var low = await _consumer.GetOffsetsAsync(new[] { step.Partition }, OffsetSpec.Earliest);
                var high = await _consumer.GetOffsetsAsync(new[] { step.Partition }, OffsetSpec.Latest);
                return new() { ["low"] = low[step.Partition].Offset, ["high"] = high[step.Partition].Offset };
            case "close":
                await _consumer.CloseAsync(step.Patience);
                break;
            default:
                throw new UnknownVerb(step.Verb);
        }
        return new();
    }

    private void Seek(Step step)
    {
        foreach (var record in _inHand.Where(record => record.TopicPartition == step.Partition).ToList())
        {
            _inHand.Remove(record);
        }
        switch (step.Need("offset"))
        {
            case "earliest":
                _consumer.Seek(step.Partition, OffsetSpec.Earliest);
                break;
            case "latest":
                _consumer.Seek(step.Partition, OffsetSpec.Latest);
                break;
            default:
                _consumer.Seek(new TopicPartitionOffset(step.Partition, long.Parse(step.Need("offset"))));
                break;
        }
    }

    private async Task Take(TimeSpan timeout)
    {
        using var batch = await _consumer.PollAsync(timeout);
        foreach (var record in batch?.Records ?? Enumerable.Empty<ConsumerRecord<byte[], byte[]>>())
        {
            _inHand.AddLast(record);
        }
    }

    private async Task<int> Poll(Step step, List<string> told)
    {
        var count = step.Number("count", int.MaxValue);
        var deadline = DateTime.UtcNow + step.Patience;
        var came = 0;
        while (came < count)
        {
            if (_inHand.Count == 0)
            {
                var left = deadline - DateTime.UtcNow;
                await Take(left < TimeSpan.Zero ? TimeSpan.Zero : left);
            }
            if (_inHand.First is not { } next)
            {
                break;
            }
            _inHand.RemoveFirst();
            told.Add(Told(next.Value));
            came++;
        }
        return came;
    }

    private async Task<long> Position(Step step)
    {
        if (_inHand.FirstOrDefault(record => record.TopicPartition == step.Partition) is { } next)
        {
            return next.Offset;
        }
        var deadline = DateTime.UtcNow + step.Patience;
        while (DateTime.UtcNow < deadline)
        {
            if (_consumer.Position(step.Partition) is { } position)
            {
                return position;
            }
            await Task.Delay(Runner.Look);
        }
        throw new InvalidOperationException("it has no position");
    }

    private async Task<string> Assignment(Step step)
    {
        var deadline = DateTime.UtcNow + step.Patience;
        while (DateTime.UtcNow < deadline)
        {
            await Take(Runner.Look);
            var assigned = _consumer.Assignment.OrderBy(partition => partition).ToList();
            if (assigned.Count == step.Number("count", 0))
            {
                return string.Join(",", assigned);
            }
        }
        throw new InvalidOperationException("it did not come about");
    }

    private static string Told(ConsumerRecord<byte[], byte[]> record)
    {
        var pairs = new Dictionary<string, object?>
        {
            ["topic"] = record.Topic,
            ["partition"] = record.Partition,
            ["offset"] = record.Offset,
            ["timestamp"] = record.TimestampMs,
            ["key"] = record.Key,
            ["value"] = record.Value,
        };
        for (var i = 0; i < record.Headers.Count; i++)
        {
            var (name, value) = record.Headers[i];
            var encoded = Line.Encoded(Encoding.UTF8.GetBytes(name));
            pairs[$"header.{i}"] = value is null ? encoded : $"{encoded}:{Line.Encoded(value)}";
        }
        return Line.Of("record", pairs);
    }
}

internal sealed class AdminSteps : IClient
{
    private readonly AdminClient _admin;

    internal AdminSteps(AdminClient admin) => _admin = admin;

    public async Task<Dictionary<string, object?>> Do(Step step, List<string> told)
    {
        var topic = step.Has("topic") ? step.Need("topic") : "";
        var resource = ConfigResource.Topic(topic);
        switch (step.Verb)
        {
            case "create_topic":
                var wanted = new NewTopic(topic, step.Number("partitions", 1));
                foreach (var (key, value) in step.Prefixed("config."))
                {
                    wanted.Config[key] = value;
                }
                await _admin.CreateTopicsAsync(new[] { wanted });
                break;
            case "delete_topic":
                await _admin.DeleteTopicsAsync(new[] { topic });
                break;
            case "describe_topic":
                return new() { ["partitions"] = (await _admin.DescribeTopicsAsync(new[] { topic }))[topic].Partitions.Count };
            case "list_topics":
                var topics = (await _admin.ListTopicsAsync()).Where(listed => !listed.IsInternal).Select(listed => listed.Name);
                return new() { ["topics"] = string.Join(",", topics.OrderBy(name => name, StringComparer.Ordinal)) };
            case "create_partitions":
                await _admin.CreatePartitionsAsync(topic, step.Number("partitions", 1));
                break;
            case "topic_config":
                return new() { ["value"] = (await _admin.DescribeConfigAsync(resource))[step.Need("key")].Value };
            case "alter_topic_config":
                var change = step.Has("value") ? step.Need("value") : null;
                await _admin.AlterConfigAsync(resource, new Dictionary<string, string?> { [step.Need("key")] = change });
                break;
            case "list_groups":
                var groups = (await _admin.ListGroupsAsync()).Select(listed => listed.GroupId);
                return new() { ["groups"] = string.Join(",", groups.OrderBy(name => name, StringComparer.Ordinal)) };
            case "describe_group":
                var group = step.Need("group");
                var described = (await _admin.DescribeGroupsAsync(new[] { group }))[group];
                return new() { ["state"] = described.State, ["members"] = described.Members.Count };
            case "delete_group":
                await _admin.DeleteGroupsAsync(new[] { step.Need("group") });
                break;
            case "close":
                _admin.Dispose();
                break;
            default:
                throw new UnknownVerb(step.Verb);
        }
        return new();
    }
}

/// A line: a verb and pairs.
internal sealed class Step
{
    private readonly Dictionary<string, byte[]> _pairs = new();

    internal Step(string line)
    {
        var words = line.Split(' ');
        Verb = words[0];
        foreach (var word in words.Skip(1))
        {
            var equals = word.IndexOf('=');
            _pairs[Encoding.UTF8.GetString(Line.Decoded(word[..equals]))] = Line.Decoded(word[(equals + 1)..]);
        }
    }

    internal string Verb { get; }

    internal TimeSpan Patience => TimeSpan.FromMilliseconds(Number("timeout_ms", Runner.PatienceMs));

    internal TopicPartition Partition => PlaceAt(Need("partition")).TopicPartition;

    internal TopicPartition[] Partitions => Need("partitions").Split(',').Select(text => PlaceAt(text).TopicPartition).ToArray();

    internal bool Has(string name) => _pairs.ContainsKey(name);

    internal byte[]? Bytes(string name) => _pairs.GetValueOrDefault(name);

    internal string Need(string name) => Encoding.UTF8.GetString(_pairs[name]);

    internal int Number(string name, int otherwise) => Has(name) ? int.Parse(Need(name)) : otherwise;

    internal T Set<T>(T options)
        where T : ClientOptions
    {
        options.AddRange(Prefixed("set."));
        return options;
    }

    internal IEnumerable<KeyValuePair<string, string>> Prefixed(string prefix) =>
        _pairs.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal))
            .Select(pair => KeyValuePair.Create(pair.Key[prefix.Length..], Encoding.UTF8.GetString(pair.Value)));

    /// `orders-0`, or `orders-0@5`.
    internal static TopicPartitionOffset PlaceAt(string text)
    {
        var parts = text.Split('@');
        var dash = parts[0].LastIndexOf('-');
        return new(parts[0][..dash], int.Parse(parts[0][(dash + 1)..]), parts.Length > 1 ? long.Parse(parts[1]) : -1);
    }

    internal Headers Headers()
    {
        var headers = new Headers();
        foreach (var (name, value) in _pairs.Where(pair => pair.Key.StartsWith("header.", StringComparison.Ordinal)))
        {
            var parts = Encoding.UTF8.GetString(value).Split(':', 2);
            headers.Add(Encoding.UTF8.GetString(Line.Decoded(parts[0])), parts.Length > 1 ? Line.Decoded(parts[1]) : null);
        }
        return headers;
    }
}

internal static class Line
{
    internal static string Of(string word, Dictionary<string, object?> pairs)
    {
        var line = new StringBuilder(word);
        foreach (var (name, value) in pairs.Where(pair => pair.Value is not null))
        {
            var bytes = value as byte[] ?? Encoding.UTF8.GetBytes(Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture)!);
            line.Append(' ').Append(name).Append('=').Append(Encoded(bytes));
        }
        return line.ToString();
    }

    internal static string Text(bool value) => value ? "true" : "false";

    internal static string Encoded(byte[] bytes)
    {
        var text = new StringBuilder(bytes.Length);
        foreach (var each in bytes)
        {
            var isPlain = each is >= (byte)'0' and <= (byte)'9' or >= (byte)'a' and <= (byte)'z' or >= (byte)'A' and <= (byte)'Z'
                or (byte)'-' or (byte)'_' or (byte)'.';
            text.Append(isPlain ? (char)each : '%');
            if (!isPlain)
            {
                text.Append(each.ToString("X2"));
            }
        }
        return text.ToString();
    }

    internal static byte[] Decoded(string text)
    {
        var bytes = new List<byte>(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '%')
            {
                bytes.Add(Convert.ToByte(text.Substring(i + 1, 2), 16));
                i += 2;
            }
            else
            {
                bytes.AddRange(Encoding.UTF8.GetBytes(text[i].ToString()));
            }
        }
        return bytes.ToArray();
    }
}
