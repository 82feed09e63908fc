using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Internal;
using Ottla.Native;

namespace Ottla;

/// <summary>
/// Reads records, alone or with the other members of a group. Thread-safe; who asks for records while another does waits for its turn.
/// </summary>
/// <remarks>
/// <para>Records count as done when the next are asked for, or a loop has come to the next; with <c>enable.auto.commit</c>, which is the
/// default, they are committed by themselves. What a loop that is left has not come to is given again by what asks next.</para>
/// <para>Nobody has to poll for the member to stay in its group, within <c>max.poll.interval.ms</c>.</para>
/// </remarks>
/// <typeparam name="TKey">What keys are.</typeparam>
/// <typeparam name="TValue">What values are.</typeparam>
/// <example>
/// <code>
/// await using var consumer = new Consumer&lt;string, string&gt;(new ConsumerOptions("localhost:9092") { GroupId = "billing" });
/// consumer.Subscribe("orders");
/// await foreach (var record in consumer.WithCancellation(stopping))
/// {
///     Handle(record.Value);
/// }
/// </code>
/// </example>
public sealed class Consumer<TKey, TValue> : IAsyncEnumerable<ConsumerRecord<TKey, TValue>>, IAsyncDisposable, IDisposable
{
    /// <summary>As Kafka's <c>max.poll.records</c> has it.</summary>
    private const int RecordsMaxByDefault = 500;

    /// <summary>How long leaving the group may take when a consumer is disposed of; as Kafka's clients have it.</summary>
    private static readonly TimeSpan ClosePatience = TimeSpan.FromSeconds(30);

    private readonly ConsumerHandle _handle;
    private readonly ConsumerEvents _events = new();
    private readonly SemaphoreSlim _reading = new(1, 1);
    private readonly IDeserializer<TKey> _keys;
    private readonly IDeserializer<TValue> _values;
    private readonly int _recordsMax;

    /// <summary>What a loop goes through; changed with the turn of reading.</summary>
    private volatile Hand? _inHand;

    /// <summary>One with these settings. Connections come in the background.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="keyDeserializer">Makes keys of bytes; null for that of <see cref="Serdes"/>.</param>
    /// <param name="valueDeserializer">Makes values of bytes; null for that of <see cref="Serdes"/>.</param>
    /// <exception cref="ArgumentException">There is no deserializer for a type.</exception>
    /// <exception cref="OttlaException">A setting is wrong.</exception>
    public unsafe Consumer(
        ConsumerOptions options,
        IDeserializer<TKey>? keyDeserializer = null,
        IDeserializer<TValue>? valueDeserializer = null)
    {
        _ = options ?? throw new ArgumentNullException(nameof(options));
        _keys = keyDeserializer ?? Serdes.Default<TKey>();
        _values = valueDeserializer ?? Serdes.Default<TValue>();
        using var config = options.Made();
        using var held = config.Hold(out var settings);
        ottla_consumer* consumer;
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_new(settings, EventLoop.Shared.Queue, &consumer, &error), error);
        _handle = new ConsumerHandle(consumer) { Keeps = options.OAuthBearerTokenProvider };
        _recordsMax = options.MaxPollRecords ?? RecordsMaxByDefault;
        EventLoop.Shared.Add(_handle.Address, _events);
    }

    // ---- what is read

    /// <summary>Reads these topics and no others, with the other members of the group (<c>group.id</c>).</summary>
    /// <param name="topics">The topics' names.</param>
    public void Subscribe(params string[] topics) => Subscribe(topics, null);

    /// <summary>Reads these topics and no others, with the other members of the group (<c>group.id</c>).</summary>
    /// <param name="topics">The topics' names.</param>
    /// <param name="listener">Is told of rebalances, where records are asked for, or the consumer is closed; null for nobody.</param>
    public unsafe void Subscribe(IEnumerable<string> topics, IRebalanceListener? listener)
    {
        var names = topics.ToArray();
        Listen(listener);
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        var status = NativeMethods.ottla_consumer_subscribe(consumer, scratch.Names(names), (nuint)names.Length, &error);
        OttlaException.Check(status, error);
    }

    /// <summary>Reads all topics whose whole name matches a regular expression, of the syntax of Rust's <c>regex</c>.</summary>
    /// <param name="pattern">The expression.</param>
    /// <param name="listener">Is told of rebalances; null for nobody.</param>
    public unsafe void SubscribePattern(string pattern, IRebalanceListener? listener = null)
    {
        Listen(listener);
        using var text = new Utf8(pattern);
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_subscribe_pattern(consumer, text.Pointer, &error), error);
    }

    /// <summary>As <see cref="SubscribePattern"/>, but the broker looks for the topics, by an expression in RE2's syntax (KIP-848).</summary>
    /// <param name="pattern">The expression.</param>
    /// <param name="listener">Is told of rebalances; null for nobody.</param>
    public unsafe void SubscribeBrokerPattern(string pattern, IRebalanceListener? listener = null)
    {
        Listen(listener);
        using var text = new Utf8(pattern);
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_subscribe_broker_pattern(consumer, text.Pointer, &error), error);
    }

    /// <summary>Leaves the group, with what the program is done with committed; or reads no partitions any more.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when it has left.</returns>
    public Task UnsubscribeAsync(CancellationToken cancellationToken = default)
    {
        KeepBack();
        return Leaving(Unsubscribing(cancellationToken));
    }

    /// <summary>Reads these partitions and no others: where they are, or where the group has committed, or where
    /// <c>auto.offset.reset</c> says.</summary>
    /// <param name="partitions">The partitions.</param>
    public void Assign(params TopicPartition[] partitions) =>
        Assign(partitions.Select(static partition => new TopicPartitionOffset(partition, -1)));

    /// <summary>Reads these partitions and no others, each from an offset.</summary>
    /// <param name="partitions">The partitions; an offset below zero leaves one where it is.</param>
    public unsafe void Assign(IEnumerable<TopicPartitionOffset> partitions)
    {
        var wanted = partitions.ToArray();
        using var scratch = new Scratch();
        var rows = scratch.List<ottla_topic_partition>(wanted.Length);
        for (var i = 0; i < wanted.Length; i++)
        {
            rows[i] = scratch.Row(wanted[i].TopicPartition);
            rows[i].offset = Math.Max(-1, wanted[i].Offset);
        }
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_assign(consumer, rows, (nuint)wanted.Length, &error), error);
        _events.Change();
    }

    /// <summary>What is assigned, in no order.</summary>
    public unsafe IReadOnlyList<TopicPartition> Assignment
    {
        get
        {
            using var held = _handle.Hold(out var consumer);
            ottla_partitions* list;
            ottla_error* error;
            OttlaException.Check(NativeMethods.ottla_consumer_assignment(consumer, &list, &error), error);
            return Results.Taken(list);
        }
    }

    /// <summary>Goes to an offset.</summary>
    /// <param name="place">The partition, and the offset of the record to be read next.</param>
    public unsafe void Seek(TopicPartitionOffset place)
    {
        using var scratch = new Scratch();
        var row = scratch.Row(place.TopicPartition);
        row.offset = place.Offset;
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_seek(consumer, &row, &error), error);
        Sought(place.TopicPartition);
    }

    /// <summary>Goes to an offset that is found out in the background.</summary>
    /// <param name="partition">The partition.</param>
    /// <param name="place">Which offset.</param>
    public unsafe void Seek(TopicPartition partition, OffsetSpec place)
    {
        using var scratch = new Scratch();
        var row = scratch.Row(partition);
        row.timestamp_ms = place.TimestampMs;
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_seek_to(consumer, &row, place.Kind, &error), error);
        Sought(partition);
    }

    /// <summary>What a loop has in hand of a partition is not what comes next, even where that is what follows it.</summary>
    private void Sought(TopicPartition partition)
    {
        if (_inHand is { } hand && hand.Batch.TopicPartition.Equals(partition))
        {
            hand.IsSought = true;
        }
        _events.Change();
    }

    /// <summary>Holds partitions: nothing of them is handed out.</summary>
    /// <param name="partitions">The partitions.</param>
    public unsafe void Pause(params TopicPartition[] partitions)
    {
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        var status = NativeMethods.ottla_consumer_pause(consumer, scratch.Partitions(partitions), (nuint)partitions.Length, &error);
        OttlaException.Check(status, error);
    }

    /// <summary>Lets partitions that are held go on.</summary>
    /// <param name="partitions">The partitions.</param>
    public unsafe void Resume(params TopicPartition[] partitions)
    {
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        var status = NativeMethods.ottla_consumer_resume(consumer, scratch.Partitions(partitions), (nuint)partitions.Length, &error);
        OttlaException.Check(status, error);
    }

    /// <summary>The partitions that are held, in no order.</summary>
    public unsafe IReadOnlyList<TopicPartition> Paused
    {
        get
        {
            using var held = _handle.Hold(out var consumer);
            ottla_partitions* list;
            ottla_error* error;
            OttlaException.Check(NativeMethods.ottla_consumer_paused(consumer, &list, &error), error);
            return Results.Taken(list);
        }
    }

    /// <summary>The offset of the next record to be handed out; null as long as it is being looked for.</summary>
    /// <param name="partition">The partition.</param>
    /// <returns>The offset.</returns>
    public unsafe long? Position(TopicPartition partition)
    {
        using var topic = new Utf8(partition.Topic);
        using var held = _handle.Hold(out var consumer);
        long position;
        ottla_error* error;
        var status = NativeMethods.ottla_consumer_position(consumer, topic.Pointer, partition.Partition, &position, &error);
        OttlaException.Check(status, error);
        return position < 0 ? null : position;
    }

    /// <summary>Between which offsets a partition could be read at its last fetch; null before the first.</summary>
    /// <param name="partition">The partition.</param>
    /// <returns>The offsets.</returns>
    public unsafe Watermarks? GetWatermarks(TopicPartition partition)
    {
        using var topic = new Utf8(partition.Topic);
        using var held = _handle.Hold(out var consumer);
        long low;
        long high;
        ottla_error* error;
        var status = NativeMethods.ottla_consumer_watermarks(consumer, topic.Pointer, partition.Partition, &low, &high, &error);
        OttlaException.Check(status, error);
        return high < 0 ? null : new Watermarks(low, high);
    }

    // ---- records

    /// <summary>The next records, as soon as there are any.</summary>
    /// <param name="timeout">How long to wait for them at most; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <param name="cancellationToken">Gives up the wait; nothing is lost by that.</param>
    /// <returns>Records of one partition, to be disposed of; null if none came.</returns>
    /// <exception cref="OttlaException">What is wrong with a partition, which it names, or with the consumer; it is told once.</exception>
    public async ValueTask<RecordBatch<TKey, TValue>?> PollAsync(TimeSpan timeout, CancellationToken cancellationToken = default)
    {
        await _reading.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await NextAsync(_recordsMax, timeout, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _reading.Release();
        }
    }

    /// <summary>As <see cref="PollAsync"/>, waiting on this thread.</summary>
    /// <param name="timeout">How long to wait for them at most; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <param name="cancellationToken">Gives up the wait; nothing is lost by that.</param>
    /// <returns>Records of one partition, to be disposed of; null if none came.</returns>
    public RecordBatch<TKey, TValue>? Poll(TimeSpan timeout, CancellationToken cancellationToken = default)
    {
        var polling = PollAsync(timeout, cancellationToken);
        return polling.IsCompleted ? polling.Result : polling.AsTask().GetAwaiter().GetResult();
    }

    /// <summary>
    /// The records, batch by batch, until the consumer is closed. A batch is disposed of when the loop asks for the next, or is left;
    /// <see cref="RecordBatch{TKey, TValue}.Retain"/> keeps one.
    /// </summary>
    /// <param name="maxRecords">How many a batch has at most; null for <c>max.poll.records</c>.</param>
    /// <param name="cancellationToken">Ends the loop, by an <see cref="OperationCanceledException"/>.</param>
    /// <returns>The batches.</returns>
    public async IAsyncEnumerable<RecordBatch<TKey, TValue>> ReadBatchesAsync(
        int? maxRecords = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (true)
        {
            RecordBatch<TKey, TValue>? batch;
            await _reading.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                batch = await NextAsync(maxRecords ?? _recordsMax, Timeout.InfiniteTimeSpan, cancellationToken).ConfigureAwait(false);
            }
            catch (Errors.ClosedException) when (_events.IsClosed)
            {
                batch = null;
            }
            finally
            {
                _reading.Release();
            }
            if (batch is null)
            {
                yield break;
            }
            using (batch)
            {
                yield return batch;
            }
        }
    }

    /// <summary>The records, one by one, until the consumer is closed.</summary>
    /// <param name="cancellationToken">Ends the loop, by an <see cref="OperationCanceledException"/>.</param>
    /// <returns>What goes through them.</returns>
    public async IAsyncEnumerator<ConsumerRecord<TKey, TValue>> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            ConsumerRecord<TKey, TValue>? record;
            await _reading.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                record = InHand() ?? await ComingAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Errors.ClosedException) when (_events.IsClosed)
            {
                record = null;
            }
            finally
            {
                _reading.Release();
            }
            if (record is null)
            {
                yield break;
            }
            yield return record;
        }
    }

    // ---- commits

    /// <summary>Commits all that was handed out, as far as a loop has come.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when the group has it.</returns>
    public unsafe Task CommitAsync(CancellationToken cancellationToken = default)
    {
        KeepBack();
        using var held = _handle.Hold(out var consumer);
        return EventLoop.Shared.Start(NativeMethods.ottla_consumer_commit_call(consumer, null), cancellationToken);
    }

    /// <summary>Commits that a batch, and all before it in its partition, is done.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when the group has it.</returns>
    public unsafe Task CommitAsync(RecordBatch batch, CancellationToken cancellationToken = default)
    {
        using var records = batch.Handle.Hold(out var of);
        using var held = _handle.Hold(out var consumer);
        return EventLoop.Shared.Start(NativeMethods.ottla_consumer_commit_call(consumer, of), cancellationToken);
    }

    /// <summary>Commits that a record, and all before it in its partition, is done.</summary>
    /// <param name="record">The record.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when the group has it.</returns>
    public Task CommitAsync(ConsumerRecord<TKey, TValue> record, CancellationToken cancellationToken = default)
    {
        var at = new OffsetAndMetadata(record.Offset + 1, "", record.LeaderEpoch);
        return CommitAsync(new Dictionary<TopicPartition, OffsetAndMetadata> { [record.TopicPartition] = at }, cancellationToken);
    }

    /// <summary>Commits offsets: of each partition that of the next record to be read.</summary>
    /// <param name="offsets">The offsets.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when the group has them.</returns>
    public unsafe Task CommitAsync(
        IReadOnlyDictionary<TopicPartition, OffsetAndMetadata> offsets,
        CancellationToken cancellationToken = default)
    {
        using var scratch = new Scratch();
        var rows = scratch.Offsets(offsets);
        using var held = _handle.Hold(out var consumer);
        var call = NativeMethods.ottla_consumer_commit_offsets_call(consumer, rows, (nuint)offsets.Count);
        return EventLoop.Shared.Start(call, cancellationToken);
    }

    /// <summary>What the group has committed.</summary>
    /// <param name="partitions">Of which partitions.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>What there is; partitions of which nothing is committed are left out.</returns>
    public unsafe Task<IReadOnlyDictionary<TopicPartition, OffsetAndMetadata>> GetCommittedAsync(
        IEnumerable<TopicPartition> partitions,
        CancellationToken cancellationToken = default)
    {
        var asked = partitions.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var consumer);
        var call = NativeMethods.ottla_consumer_committed(consumer, scratch.Partitions(asked), (nuint)asked.Length);
        return EventLoop.Shared.Start(
            call,
            static result => Results.Partitions(result, static row => Results.Committed(in row)),
            cancellationToken);
    }

    // ---- questions

    /// <summary>The offsets that are meant.</summary>
    /// <param name="partitions">Of which partitions.</param>
    /// <param name="place">Which offset of each.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The offsets; partitions that have none, as where no record is so late, are left out.</returns>
    public unsafe Task<IReadOnlyDictionary<TopicPartition, OffsetAndTimestamp>> GetOffsetsAsync(
        IEnumerable<TopicPartition> partitions,
        OffsetSpec place,
        CancellationToken cancellationToken = default)
    {
        var asked = partitions.ToArray();
        using var scratch = new Scratch();
        var rows = scratch.Partitions(asked);
        for (var i = 0; i < asked.Length; i++)
        {
            rows[i].timestamp_ms = place.TimestampMs;
        }
        using var held = _handle.Hold(out var consumer);
        var call = NativeMethods.ottla_consumer_offsets(consumer, place.Kind, rows, (nuint)asked.Length);
        return EventLoop.Shared.Start(
            call,
            static result => Results.Partitions(result, static row => Results.Listed(in row)),
            cancellationToken);
    }

    /// <summary>What it has counted, as the guide lists it; not a number where there is none yet.</summary>
    /// <returns>Values by name.</returns>
    public unsafe IReadOnlyDictionary<string, double> GetMetrics()
    {
        using var held = _handle.Hold(out var consumer);
        var count = (int)NativeMethods.ottla_consumer_metrics(consumer, null, 0);
        var metrics = new ottla_metric[count];
        fixed (ottla_metric* places = metrics)
        {
            count = (int)NativeMethods.ottla_consumer_metrics(consumer, places, (nuint)count);
        }
        return Results.Metrics(metrics, count);
    }

    // ---- the end

    /// <summary>Leaves the group, with what the program is done with committed, and ends. Loops over records end. Closing again does
    /// nothing.</summary>
    /// <param name="timeout">What is not done in this time is left to the group to find out, and then this fails; null for 30 s.</param>
    /// <param name="cancellationToken">Gives up the wait; it closes all the same.</param>
    /// <returns>Done at the end.</returns>
    public Task CloseAsync(TimeSpan? timeout = null, CancellationToken cancellationToken = default)
    {
        KeepBack();
        _events.IsClosed = true;
        return Leaving(Closing(timeout ?? ClosePatience, cancellationToken));
    }

    /// <summary>As <see cref="CloseAsync"/>, and lets go of all that it has. What fails is logged.</summary>
    /// <returns>Done at the end.</returns>
    public async ValueTask DisposeAsync()
    {
        if (_handle.IsClosed)
        {
            return;
        }
        try
        {
            await CloseAsync().ConfigureAwait(false);
        }
        catch (OttlaException failure)
        {
            OttlaLog.Write(OttlaLogLevel.Warning, "ottla::dotnet", $"a consumer was disposed of: {failure.Message}");
        }
        _handle.Dispose();
        // Who waits for records is told that it is gone.
        _events.Ready();
        _events.LetGo();
    }

    /// <summary>As <see cref="DisposeAsync"/>, waiting on this thread.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    // ---- helpers

    private unsafe Task Closing(TimeSpan timeout, CancellationToken cancellation)
    {
        using var held = _handle.Hold(out var consumer);
        return EventLoop.Shared.Start(NativeMethods.ottla_consumer_close_call(consumer, Milliseconds.Of(timeout)), cancellation);
    }

    private unsafe Task Unsubscribing(CancellationToken cancellation)
    {
        using var held = _handle.Hold(out var consumer);
        return EventLoop.Shared.Start(NativeMethods.ottla_consumer_unsubscribe_call(consumer), cancellation);
    }

    /// <summary>Waits for a consumer to leave its group, which waits for the listener to be told; then wakes who reads.</summary>
    private async Task Leaving(Task leaving)
    {
        Exception? failure = null;
        using var told = new SemaphoreSlim(0);
        _events.WhenRebalancing(told);
        try
        {
            while (!leaving.IsCompleted)
            {
                try
                {
                    await _events.TellAsync().ConfigureAwait(false);
                }
                catch (Exception thrown)
                {
                    // The listener's; it leaves all the same.
                    failure ??= thrown;
                }
                await Task.WhenAny(leaving, told.WaitAsync()).ConfigureAwait(false);
            }
            await leaving.ConfigureAwait(false);
        }
        finally
        {
            _events.WhenRebalancing(null);
            _events.Change();
            _events.Ready();
        }
        if (failure is not null)
        {
            ExceptionDispatchInfo.Capture(failure).Throw();
        }
    }

    private unsafe void Listen(IRebalanceListener? listener)
    {
        _events.Change();
        _events.Listener = listener;
        if (listener is null || _events.IsListening)
        {
            return;
        }
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_listen(consumer, &error), error);
        _events.IsListening = true;
    }

    /// <summary>The next records; null if none come in time. With the turn of reading.</summary>
    private async ValueTask<RecordBatch<TKey, TValue>?> NextAsync(int max, TimeSpan timeout, CancellationToken cancellation)
    {
        var left = LeftOver();
        if (left is not null)
        {
            return left;
        }
        var patience = Milliseconds.Of(timeout);
        var began = Stopwatch.GetTimestamp();
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            await _events.TellAsync().ConfigureAwait(false);
            var batch = TryNext(max);
            if (batch is not null)
            {
                return batch;
            }
            var wait = Timeout.Infinite;
            if (patience >= 0)
            {
                var passed = (Stopwatch.GetTimestamp() - began) * 1000 / Stopwatch.Frequency;
                wait = (int)Math.Max(0, patience - passed);
                if (wait == 0)
                {
                    return null;
                }
            }
            await _events.Bell.WaitAsync(wait, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>What needs no waiting. Where there is nothing, the bell rings when there may be something.</summary>
    private unsafe RecordBatch<TKey, TValue>? TryNext(int max)
    {
        using var held = _handle.Hold(out var consumer);
        ottla_batch* batch;
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_poll(consumer, (nuint)Math.Max(1, max), 0, &batch, &error), error);
        return batch == null ? null : new RecordBatch<TKey, TValue>(new BatchHandle(batch), 0, _keys, _values);
    }

    /// <summary>The next record of what a loop goes through; null if it is at its end, or somebody has gone elsewhere.</summary>
    private ConsumerRecord<TKey, TValue>? InHand()
    {
        var hand = _inHand;
        if (hand is null)
        {
            return null;
        }
        if (hand.Next >= hand.Batch.Count || !IsNext(hand))
        {
            _inHand = null;
            hand.Batch.Dispose();
            return null;
        }
        // One whose bytes cannot be read is not passed over.
        var record = hand.Batch.Record(hand.Next);
        hand.Next++;
        return record;
    }

    private async ValueTask<ConsumerRecord<TKey, TValue>?> ComingAsync(CancellationToken cancellation)
    {
        while (true)
        {
            var changes = _events.Changes;
            var batch = await NextAsync(_recordsMax, Timeout.InfiniteTimeSpan, cancellation).ConfigureAwait(false);
            if (batch is null)
            {
                return null;
            }
            _inHand = new Hand(batch, changes);
            if (InHand() is { } record)
            {
                return record;
            }
        }
    }

    /// <summary>What a loop that was left has not come to, as a batch of its own.</summary>
    private RecordBatch<TKey, TValue>? LeftOver()
    {
        var hand = _inHand;
        _inHand = null;
        if (hand is null)
        {
            return null;
        }
        using var batch = hand.Batch;
        if (hand.Next >= batch.Count || !IsNext(hand))
        {
            return null;
        }
        // They count as all others that were handed out.
        KeepBack(batch, batch.NextOffset);
        return batch.From(hand.Next);
    }

    /// <summary>Whether nobody has gone elsewhere since, nor was the partition taken away.</summary>
    private bool IsNext(Hand hand)
    {
        if (hand.IsSought)
        {
            return false;
        }
        var changes = _events.Changes;
        if (hand.Changes == changes)
        {
            return true;
        }
        try
        {
            hand.Changes = changes;
            return Position(hand.Batch.TopicPartition) == hand.Batch.NextOffset;
        }
        catch (OttlaException)
        {
            return false;
        }
    }

    /// <summary>What a loop has not come to is not done.</summary>
    private void KeepBack()
    {
        if (_inHand is not { } hand)
        {
            return;
        }
        try
        {
            var next = hand.Next;
            if (next < hand.Batch.Count)
            {
                KeepBack(hand.Batch, hand.Batch[next].Offset);
            }
        }
        catch (ObjectDisposedException) when (!_handle.IsClosed)
        {
            // The loop has come to its end meanwhile.
        }
    }

    /// <summary>Records that a loop goes through.</summary>
    private sealed class Hand
    {
        internal readonly RecordBatch<TKey, TValue> Batch;

        /// <summary>The place of the record that it comes to next.</summary>
        internal volatile int Next;

        /// <summary>What had changed in what is read when it was found to be what comes next.</summary>
        internal int Changes;

        /// <summary>The consumer was sent elsewhere in its partition.</summary>
        internal volatile bool IsSought;

        internal Hand(RecordBatch<TKey, TValue> batch, int changes)
        {
            Batch = batch;
            Changes = changes;
        }
    }

    private unsafe void KeepBack(RecordBatch batch, long offset)
    {
        using var records = batch.Handle.Hold(out var of);
        using var held = _handle.Hold(out var consumer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_consumer_keep_back(consumer, of, offset, &error), error);
    }
}

/// <summary>
/// Is told of rebalances, where records are asked for, or the consumer is closed; the group waits until it is done, at most
/// <c>max.poll.interval.ms</c>. What it throws comes out of there.
/// </summary>
public interface IRebalanceListener
{
    /// <summary>Partitions come to the consumer, beside what it has. There may be none.</summary>
    /// <param name="partitions">The partitions.</param>
    /// <returns>Done when records may follow.</returns>
    ValueTask OnAssignedAsync(IReadOnlyList<TopicPartition> partitions) => default;

    /// <summary>Partitions go to others: the last time to commit them.</summary>
    /// <param name="partitions">The partitions.</param>
    /// <returns>Done when they may go.</returns>
    ValueTask OnRevokedAsync(IReadOnlyList<TopicPartition> partitions) => default;

    /// <summary>Partitions are gone, and cannot be committed.</summary>
    /// <param name="partitions">The partitions.</param>
    /// <returns>Done when the consumer may go on.</returns>
    ValueTask OnLostAsync(IReadOnlyList<TopicPartition> partitions) => default;
}
