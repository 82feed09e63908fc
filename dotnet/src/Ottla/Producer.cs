using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Internal;
using Ottla.Native;

namespace Ottla;

/// <summary>
/// Sends records whose keys and values are bytes. Thread-safe: one is enough for a program. <see cref="Producer{TKey, TValue}"/> sends
/// records of other types.
/// </summary>
/// <remarks>
/// <para>What is sent is copied before a method returns. A span that is <c>default</c>, as a null array becomes one, is a null key or
/// value; an empty array is an empty one.</para>
/// <para>Records with the same key, or partition, that are sent by <see cref="SendAsync(string, ReadOnlySpan{byte}, ReadOnlySpan{byte},
/// Headers, int?, DateTimeOffset?, CancellationToken)"/> are written in the order of the calls.</para>
/// </remarks>
public class Producer : IAsyncDisposable, IDisposable
{
    /// <summary>Names of headers that fit on the stack.</summary>
    private const int StackBytesMax = 512;

    private const int Forever = -1;
    private const int QueueFull = (int)ErrorCode.QueueFull;

    private readonly ProducerHandle _handle;
    private readonly ConcurrentDictionary<string, TopicHandle> _topics = new();
    private TopicHandle? _lastTopic;

    /// <summary>One with these settings. Connections come in the background.</summary>
    /// <param name="options">The settings.</param>
    /// <exception cref="OttlaException">A setting is wrong.</exception>
    public unsafe Producer(ProducerOptions options)
    {
        _ = options ?? throw new ArgumentNullException(nameof(options));
        using var config = options.Made();
        using var held = config.Hold(out var settings);
        ottla_producer* producer;
        ottla_error* error;
        var status = NativeMethods.ottla_producer_new(settings, EventLoop.Shared.Queue, &producer, &error);
        OttlaException.Check(status, error);
        _handle = new ProducerHandle(producer) { Keeps = options.OAuthBearerTokenProvider };
    }

    /// <summary>One with default settings.</summary>
    /// <param name="bootstrapServers">Brokers to ask first, as <c>host:port,host:port</c>.</param>
    public Producer(string bootstrapServers)
        : this(new ProducerOptions(bootstrapServers))
    {
    }

    /// <summary>Sends a record, and tells where it was written.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; <c>default</c> for none.</param>
    /// <param name="value">The value; <c>default</c> for null.</param>
    /// <param name="headers">The headers.</param>
    /// <param name="partition">The partition; null leaves it to the partitioner.</param>
    /// <param name="timestamp">The record's time; null for now.</param>
    /// <param name="cancellationToken">Gives up the wait. The record may be written all the same.</param>
    /// <returns>Where it was written, once it is; to be awaited once. Where there is no room, the record waits for it, at most
    /// <c>max.block.ms</c>, and those that are sent after it queue behind it.</returns>
    public ValueTask<RecordMetadata> SendAsync(
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers = null,
        int? partition = null,
        DateTimeOffset? timestamp = null,
        CancellationToken cancellationToken = default)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return new ValueTask<RecordMetadata>(Task.FromCanceled<RecordMetadata>(cancellationToken));
        }
#if NET5_0_OR_GREATER
        if (Tracing.IsOn)
        {
            return Tracing.Traced(this, topic, key, value, headers, partition, timestamp, cancellationToken);
        }
#endif
        return Sent(topic, key, value, headers, partition, timestamp, cancellationToken);
    }

    /// <summary>
    /// Sends a record whose fate nobody asks for: failures are logged and counted, and <see cref="FlushAsync"/> waits for it all the same.
    /// Where there is no room it waits, on this thread, at most <c>max.block.ms</c>.
    /// </summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; <c>default</c> for none.</param>
    /// <param name="value">The value; <c>default</c> for null.</param>
    /// <param name="headers">The headers.</param>
    /// <param name="partition">The partition; null leaves it to the partitioner.</param>
    /// <param name="timestamp">The record's time; null for now.</param>
    /// <exception cref="OttlaException">It cannot be taken.</exception>
    public void Send(
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers = null,
        int? partition = null,
        DateTimeOffset? timestamp = null)
    {
        var status = Produce(How.Try, topic, key, value, headers, partition, timestamp, 0, out var failure);
        if (status == QueueFull)
        {
            status = Produce(How.Wait, topic, key, value, headers, partition, timestamp, 0, out failure);
        }
        if (status != 0)
        {
            throw failure!;
        }
    }

    /// <summary>As <see cref="Send(string, ReadOnlySpan{byte}, ReadOnlySpan{byte}, Headers, int?, DateTimeOffset?)"/>, if that needs no
    /// waiting.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; <c>default</c> for none.</param>
    /// <param name="value">The value; <c>default</c> for null.</param>
    /// <param name="headers">The headers.</param>
    /// <param name="partition">The partition; null leaves it to the partitioner.</param>
    /// <param name="timestamp">The record's time; null for now.</param>
    /// <returns>Whether it was taken; false where there is no room, or the topic is not known yet.</returns>
    /// <exception cref="OttlaException">It cannot be taken for another reason.</exception>
    public bool TrySend(
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers = null,
        int? partition = null,
        DateTimeOffset? timestamp = null)
    {
        var status = Produce(How.Try, topic, key, value, headers, partition, timestamp, 0, out var failure);
        if (status != 0 && status != QueueFull)
        {
            throw failure!;
        }
        return status == 0;
    }

    /// <summary>Sends what was taken without further linger.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when all that was taken is acknowledged, or has failed.</returns>
    public unsafe Task FlushAsync(CancellationToken cancellationToken = default)
    {
        using var held = _handle.Hold(out var producer);
        return EventLoop.Shared.Start(NativeMethods.ottla_producer_flush_call(producer), cancellationToken);
    }

    /// <summary>Waits, on this thread, until all that was taken is acknowledged, or has failed.</summary>
    /// <param name="timeout">How long at most; <see cref="Timeout.InfiniteTimeSpan"/> for as long as it takes.</param>
    /// <exception cref="Errors.TimeoutException">It is not in that time.</exception>
    public unsafe void Flush(TimeSpan timeout)
    {
        using var held = _handle.Hold(out var producer);
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_producer_flush(producer, Milliseconds.Of(timeout), &error), error);
    }

    /// <summary>How many partitions a topic has; waits for it to be known.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Their number.</returns>
    public unsafe Task<int> GetPartitionCountAsync(string topic, CancellationToken cancellationToken = default)
    {
        using var held = _handle.Hold(out var producer);
        using var name = Topic(topic).Hold(out var of);
        return EventLoop.Shared.Start(
            NativeMethods.ottla_producer_partition_count(producer, of),
            static result => checked((int)NativeMethods.ottla_result_number((ottla_result*)result)),
            cancellationToken);
    }

    /// <summary>What it has counted, as the guide lists it; not a number where there is none yet.</summary>
    /// <returns>Values by name.</returns>
    public unsafe IReadOnlyDictionary<string, double> GetMetrics()
    {
        using var held = _handle.Hold(out var producer);
        var count = (int)NativeMethods.ottla_producer_metrics(producer, null, 0);
        var metrics = new ottla_metric[count];
        fixed (ottla_metric* places = metrics)
        {
            count = (int)NativeMethods.ottla_producer_metrics(producer, places, (nuint)count);
        }
        return Results.Metrics(metrics, count);
    }

    /// <summary>Sends what was taken, waits for it, and ends. Closing again does nothing.</summary>
    /// <param name="timeout">What is not acknowledged in this time fails, and then this does, too; null for as long as it takes, which
    /// <c>delivery.timeout.ms</c> limits.</param>
    /// <param name="cancellationToken">Gives up the wait; it closes all the same.</param>
    /// <returns>Done at the end.</returns>
    public Task CloseAsync(TimeSpan? timeout = null, CancellationToken cancellationToken = default) =>
        Waits.For(ClosedAsync(timeout ?? Timeout.InfiniteTimeSpan), cancellationToken);

    /// <summary>As <see cref="CloseAsync"/>, and lets go of all that it has. What fails is logged.</summary>
    /// <returns>Done at the end.</returns>
    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return _handle.IsClosed ? default : Disposed(CloseAsync());
    }

    /// <summary>As <see cref="DisposeAsync"/>, waiting on this thread.</summary>
    public void Dispose()
    {
        GC.SuppressFinalize(this);
        if (!_handle.IsClosed)
        {
            Disposed(CloseAsync()).AsTask().GetAwaiter().GetResult();
        }
    }

    /// <summary>A record that is sent, with nothing around it.</summary>
    internal ValueTask<RecordMetadata> Sent(
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers,
        int? partition,
        DateTimeOffset? timestamp,
        CancellationToken cancellation)
    {
        // Until the record is delivered.
        _handle.AddUser();
        var operation = SendOperation.Rent(_handle, topic, cancellation);
        var sent = operation.Task;
        OttlaException? failure;
        try
        {
            if (Produce(How.InTurn, topic, key, value, headers, partition, timestamp, operation.Token, out failure) == 0)
            {
                return sent;
            }
        }
        catch
        {
            operation.Refused();
            throw;
        }
        operation.Refused();
        return new ValueTask<RecordMetadata>(Task.FromException<RecordMetadata>(failure!));
    }

    /// <summary>What waits for room is part of what was taken.</summary>
    private async Task ClosedAsync(TimeSpan timeout)
    {
        var patience = Milliseconds.Of(timeout);
        var began = Stopwatch.GetTimestamp();
        var caughtUp = CaughtUp();
        if (!caughtUp.IsCompleted)
        {
            using var stop = new CancellationTokenSource();
            await Task.WhenAny(caughtUp, Task.Delay(patience, stop.Token)).ConfigureAwait(false);
            stop.Cancel();
        }
        var passed = (Stopwatch.GetTimestamp() - began) * 1000 / Stopwatch.Frequency;
        await Closing(patience < 0 ? Forever : (int)Math.Max(0, patience - passed)).ConfigureAwait(false);
    }

    private unsafe Task CaughtUp()
    {
        using var held = _handle.Hold(out var producer);
        return EventLoop.Shared.Start(NativeMethods.ottla_producer_caught_up(producer), default);
    }

    private unsafe Task Closing(int patience)
    {
        using var held = _handle.Hold(out var producer);
        return EventLoop.Shared.Start(NativeMethods.ottla_producer_close_call(producer, patience), default);
    }

    private async ValueTask Disposed(Task closing)
    {
        try
        {
            await closing.ConfigureAwait(false);
        }
        catch (OttlaException failure)
        {
            OttlaLog.Write(OttlaLogLevel.Warning, "ottla::dotnet", $"a producer was disposed of: {failure.Message}");
        }
        _handle.Dispose();
    }

    /// <summary>How a record is taken where there is no room.</summary>
    private enum How
    {
        /// <summary>It is not.</summary>
        Try,

        /// <summary>On this thread, at most <c>max.block.ms</c>.</summary>
        Wait,

        /// <summary>By a copy of it.</summary>
        InTurn,
    }

    private unsafe int Produce(
        How how,
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers,
        int? partition,
        DateTimeOffset? timestamp,
        ulong token,
        out OttlaException? failure)
    {
        // Not as `fixed` has it by itself: what is empty is not null.
        fixed (byte* keyBytes = &MemoryMarshal.GetReference(key))
        fixed (byte* valueBytes = &MemoryMarshal.GetReference(value))
        {
            var record = new ottla_record
            {
                size = (uint)sizeof(ottla_record),
                partition = partition ?? -1,
                timestamp_ms = timestamp is null ? -1 : timestamp.Value.ToUnixTimeMilliseconds(),
                key = new ottla_slice { ptr = keyBytes, len = (nuint)key.Length },
                value = new ottla_slice { ptr = valueBytes, len = (nuint)value.Length },
                token = token,
            };
            return headers is null || headers.Count == 0
                ? Produce(how, topic, &record, out failure)
                : WithHeaders(how, topic, &record, headers, out failure);
        }
    }

    private unsafe int WithHeaders(How how, string topic, ottla_record* record, Headers headers, out OttlaException? failure)
    {
        var count = headers.Count;
        var bytes = 0;
        for (var i = 0; i < count; i++)
        {
            var header = headers[i];
            // One more, as even what is empty must lie somewhere.
            bytes = checked(bytes + Encoding.UTF8.GetByteCount(header.Name) + (header.Value?.Length ?? 0) + 1);
        }
        var rented = bytes > StackBytesMax ? ArrayPool<byte>.Shared.Rent(bytes) : null;
        var table = ArrayPool<ottla_header>.Shared.Rent(count);
        try
        {
            Span<byte> room = rented is null ? stackalloc byte[StackBytesMax] : rented;
            fixed (byte* first = room)
            fixed (ottla_header* rows = table)
            {
                var at = 0;
                for (var i = 0; i < count; i++)
                {
                    var header = headers[i];
                    rows[i] = default;
                    rows[i].name.ptr = first + at;
                    var name = Encoding.UTF8.GetBytes(header.Name, room[at..]);
                    rows[i].name.len = (nuint)name;
                    at += name;
                    if (header.Value is { } value)
                    {
                        rows[i].value.ptr = first + at;
                        rows[i].value.len = (nuint)value.Length;
                        value.CopyTo(room[at..]);
                        at += value.Length;
                    }
                    at++;
                }
                record->headers = rows;
                record->header_count = (nuint)count;
                return Produce(how, topic, record, out failure);
            }
        }
        finally
        {
            ArrayPool<ottla_header>.Shared.Return(table);
            if (rented is not null)
            {
                ArrayPool<byte>.Shared.Return(rented);
            }
        }
    }

    private unsafe int Produce(How how, string topic, ottla_record* record, out OttlaException? failure)
    {
        failure = null;
        var of = Topic(topic);
        using var held = _handle.Hold(out var producer);
        ottla_error* error = null;
        var status = how switch
        {
            How.Try => NativeMethods.ottla_produce(producer, of.Pointer, record),
            How.Wait => NativeMethods.ottla_produce_wait(producer, of.Pointer, record, Forever, &error),
            _ => NativeMethods.ottla_produce_in_turn(producer, of.Pointer, record, &error),
        };
        if (how == How.Try && status != 0 && status != QueueFull)
        {
            // Once more, to be told why. Should it have passed meanwhile, so much the better.
            status = NativeMethods.ottla_produce_wait(producer, of.Pointer, record, 0, &error);
        }
        // The name was in use until here.
        GC.KeepAlive(of);
        if (status != 0)
        {
            failure = OttlaException.Take(status, error);
        }
        return status;
    }

    private TopicHandle Topic(string topic)
    {
        // Most programs send to one, and by the same string.
        var last = Volatile.Read(ref _lastTopic);
        if (last is not null && ReferenceEquals(last.Name, topic))
        {
            return last;
        }
        _ = topic ?? throw new ArgumentNullException(nameof(topic));
        last = _topics.GetOrAdd(topic, static name => new TopicHandle(name));
        Volatile.Write(ref _lastTopic, last);
        return last;
    }
}

/// <summary>A record to be sent.</summary>
/// <typeparam name="TKey">What keys are.</typeparam>
/// <typeparam name="TValue">What values are.</typeparam>
public struct ProducerRecord<TKey, TValue>
{
    /// <summary>One of a key and a value; the rest may be set.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; null for none.</param>
    /// <param name="value">The value; null is not the same as empty.</param>
    public ProducerRecord(string topic, TKey? key, TValue? value)
        : this()
    {
        Topic = topic;
        Key = key;
        Value = value;
    }

    /// <summary>The topic.</summary>
    public string Topic { readonly get; set; }

    /// <summary>The key; null for none.</summary>
    public TKey? Key { readonly get; set; }

    /// <summary>The value; null is not the same as empty.</summary>
    public TValue? Value { readonly get; set; }

    /// <summary>The headers.</summary>
    public Headers? Headers { readonly get; set; }

    /// <summary>The partition; null leaves it to the partitioner.</summary>
    public int? Partition { readonly get; set; }

    /// <summary>The record's time; null for now.</summary>
    public DateTimeOffset? Timestamp { readonly get; set; }
}

/// <summary>Sends records. Thread-safe: one is enough for a program.</summary>
/// <typeparam name="TKey">What keys are.</typeparam>
/// <typeparam name="TValue">What values are.</typeparam>
/// <example>
/// <code>
/// await using var producer = new Producer&lt;string, string&gt;("localhost:9092");
/// var written = await producer.SendAsync("orders", "42", "two apples");
/// </code>
/// </example>
public sealed class Producer<TKey, TValue> : Producer
{
    private readonly ISerializer<TKey> _keys;
    private readonly ISerializer<TValue> _values;

    /// <summary>One with these settings.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="keySerializer">Makes bytes of keys; null for that of <see cref="Serdes"/>.</param>
    /// <param name="valueSerializer">Makes bytes of values; null for that of <see cref="Serdes"/>.</param>
    /// <exception cref="ArgumentException">There is no serializer for a type.</exception>
    /// <exception cref="OttlaException">A setting is wrong.</exception>
    public Producer(ProducerOptions options, ISerializer<TKey>? keySerializer = null, ISerializer<TValue>? valueSerializer = null)
        : base(options)
    {
        _keys = keySerializer ?? Serdes.Default<TKey>();
        _values = valueSerializer ?? Serdes.Default<TValue>();
    }

    /// <summary>One with default settings.</summary>
    /// <param name="bootstrapServers">Brokers to ask first, as <c>host:port,host:port</c>.</param>
    public Producer(string bootstrapServers)
        : this(new ProducerOptions(bootstrapServers))
    {
    }

    /// <summary>Sends a record, and tells where it was written.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; null for none.</param>
    /// <param name="value">The value; null is not the same as empty.</param>
    /// <param name="cancellationToken">Gives up the wait. The record may be written all the same.</param>
    /// <returns>Where it was written, once it is; to be awaited once.</returns>
    /// <exception cref="SerializationException">A serializer failed.</exception>
    public ValueTask<RecordMetadata> SendAsync(string topic, TKey? key, TValue? value, CancellationToken cancellationToken = default) =>
        SendAsync(new ProducerRecord<TKey, TValue>(topic, key, value), cancellationToken);

    /// <summary>Sends a record, and tells where it was written.</summary>
    /// <param name="record">The record.</param>
    /// <param name="cancellationToken">Gives up the wait. The record may be written all the same.</param>
    /// <returns>Where it was written, once it is; to be awaited once.</returns>
    /// <exception cref="SerializationException">A serializer failed.</exception>
    public ValueTask<RecordMetadata> SendAsync(in ProducerRecord<TKey, TValue> record, CancellationToken cancellationToken = default)
    {
        var buffers = RecordBuffers.Take();
        try
        {
            var key = Serialized(_keys, record.Key, buffers.Key, in record, isKey: true);
            var value = Serialized(_values, record.Value, buffers.Value, in record, isKey: false);
            return SendAsync(record.Topic, key, value, record.Headers, record.Partition, record.Timestamp, cancellationToken);
        }
        finally
        {
            buffers.GiveBack();
        }
    }

    /// <summary>
    /// Sends a record whose fate nobody asks for: failures are logged and counted, and <see cref="Producer.FlushAsync"/> waits for it all
    /// the same. Where there is no room it waits, on this thread, at most <c>max.block.ms</c>.
    /// </summary>
    /// <param name="topic">The topic.</param>
    /// <param name="key">The key; null for none.</param>
    /// <param name="value">The value; null is not the same as empty.</param>
    /// <exception cref="OttlaException">It cannot be taken.</exception>
    public void Send(string topic, TKey? key, TValue? value) => Send(new ProducerRecord<TKey, TValue>(topic, key, value));

    /// <summary>
    /// Sends a record whose fate nobody asks for: failures are logged and counted, and <see cref="Producer.FlushAsync"/> waits for it all
    /// the same. Where there is no room it waits, on this thread, at most <c>max.block.ms</c>.
    /// </summary>
    /// <param name="record">The record.</param>
    /// <exception cref="OttlaException">It cannot be taken.</exception>
    public void Send(in ProducerRecord<TKey, TValue> record)
    {
        var buffers = RecordBuffers.Take();
        try
        {
            var key = Serialized(_keys, record.Key, buffers.Key, in record, isKey: true);
            var value = Serialized(_values, record.Value, buffers.Value, in record, isKey: false);
            Send(record.Topic, key, value, record.Headers, record.Partition, record.Timestamp);
        }
        finally
        {
            buffers.GiveBack();
        }
    }

    private static ReadOnlySpan<byte> Serialized<T>(
        ISerializer<T> serializer,
        T? data,
        BufferWriter writer,
        in ProducerRecord<TKey, TValue> record,
        bool isKey)
    {
        if (data is null)
        {
            return default;
        }
        try
        {
            serializer.Serialize(data, writer, new SerializationContext(record.Topic, isKey, record.Headers));
        }
        catch (Exception failure)
        {
            var what = isKey ? "key" : "value";
            throw new SerializationException($"the {what} of a record for `{record.Topic}` could not be serialized: {failure.Message}", failure);
        }
        return writer.Written;
    }
}
