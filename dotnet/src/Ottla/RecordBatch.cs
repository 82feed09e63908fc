using System;
using System.Collections;
using System.Collections.Generic;
using Ottla.Native;

namespace Ottla;

/// <summary>
/// Records of one partition that follow each other, where the library has read or inflated them: nothing is copied. It ends when it is
/// disposed of; what is looked at afterwards throws. One that is forgotten is collected.
/// </summary>
/// <remarks>Spans point into the batch. Keep the batch as long as them: <c>using</c> does, and so does the loop that gave it.</remarks>
public class RecordBatch : IDisposable
{
    private readonly BatchHandle _handle;
    private readonly int _start;
    private unsafe ottla_record_view* _views;
    private unsafe byte* _data;

    internal unsafe RecordBatch(BatchHandle handle, int start = 0)
    {
        _handle = handle;
        _start = start;
        var batch = handle.Pointer;
        nuint count;
        _views = NativeMethods.ottla_batch_records(batch, &count) + start;
        _data = NativeMethods.ottla_batch_data(batch).ptr;
        Count = (int)count - start;
        TopicPartition = new TopicPartition(Texts.Read(NativeMethods.ottla_batch_topic(batch, 0)), _views->partition);
        NextOffset = NativeMethods.ottla_batch_next_offset(batch);
        var mark = NativeMethods.ottla_batch_high_watermark(batch);
        HighWatermark = mark < 0 ? null : mark;
    }

    /// <summary>How many records there are; at least one.</summary>
    public int Count { get; }

    /// <summary>Where they are from.</summary>
    public TopicPartition TopicPartition { get; }

    /// <summary>The topic's name.</summary>
    public string Topic => TopicPartition.Topic;

    /// <summary>The partition's number.</summary>
    public int Partition => TopicPartition.Partition;

    /// <summary>The offset at which the next batch of this partition goes on: what to commit when this one is done with.</summary>
    public long NextOffset { get; }

    /// <summary>The offset behind the partition's last record, when these were fetched; null where it is not known.</summary>
    public long? HighWatermark { get; }

    /// <summary>A record.</summary>
    /// <param name="index">Its place, from 0.</param>
    /// <exception cref="ObjectDisposedException">The batch was disposed of.</exception>
    public RecordView this[int index]
    {
        get
        {
            if ((uint)index >= (uint)Count)
            {
                throw new ArgumentOutOfRangeException(nameof(index), $"there are {Count} records, and no {index}");
            }
            _ = View(index);
            return new RecordView(this, index);
        }
    }

    /// <summary>The records, in the order of the log.</summary>
    /// <returns>What goes through them.</returns>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>The same records once more, which stay when this is disposed of.</summary>
    /// <returns>Another batch, to be disposed of, too.</returns>
    public RecordBatch Retain() => new(Another(), _start);

    /// <summary>Lets go of the records.</summary>
    public void Dispose()
    {
        GC.SuppressFinalize(this);
        unsafe
        {
            _views = null;
            _data = null;
        }
        _handle.Dispose();
    }

    internal BatchHandle Handle => _handle;

    internal int Start => _start;

    internal unsafe BatchHandle Another()
    {
        using var held = _handle.Hold(out var batch);
        return new BatchHandle(NativeMethods.ottla_batch_ref(batch));
    }

    internal unsafe ref readonly ottla_record_view View(int index)
    {
        var views = _views;
        if (views == null)
        {
            throw new ObjectDisposedException("Ottla.RecordBatch");
        }
        return ref views[index];
    }

    internal unsafe ReadOnlySpan<byte> Part(uint offset, int length)
    {
        var data = _data;
        if (data == null)
        {
            throw new ObjectDisposedException("Ottla.RecordBatch");
        }
        // What is empty is not null, also to who sends it on.
        return length < 0 ? default : new ReadOnlySpan<byte>(data + offset, length);
    }

    internal unsafe Headers HeadersOf(int index)
    {
        var headers = new Headers();
        var count = View(index).header_count;
        if (count == 0)
        {
            return headers;
        }
        using var held = _handle.Hold(out var batch);
        for (uint i = 0; i < count; i++)
        {
            ottla_header header;
            if (!NativeMethods.ottla_batch_header(batch, (nuint)(index + _start), i, &header))
            {
                break;
            }
            headers.Add(Texts.Read(in header.name), Texts.Bytes(in header.value));
        }
        return headers;
    }

    /// <summary>Goes through the records of a batch.</summary>
    public struct Enumerator
    {
        private readonly RecordBatch _batch;
        private int _index;

        internal Enumerator(RecordBatch batch)
        {
            _batch = batch;
            _index = -1;
        }

        /// <summary>The record.</summary>
        public readonly RecordView Current => new(_batch, _index);

        /// <summary>Goes to the next.</summary>
        /// <returns>Whether there is one.</returns>
        public bool MoveNext() => ++_index < _batch.Count;
    }
}

/// <summary>A record in its batch, where its bytes are; as long as the batch.</summary>
/// <remarks>What is asked of it when the batch was disposed of throws an <see cref="ObjectDisposedException"/>.</remarks>
public readonly struct RecordView
{
    private readonly RecordBatch _batch;
    private readonly int _index;

    internal RecordView(RecordBatch batch, int index)
    {
        _batch = batch;
        _index = index;
    }

    /// <summary>Where it is from.</summary>
    public TopicPartition TopicPartition => _batch.TopicPartition;

    /// <summary>Its offset in the partition.</summary>
    public long Offset => _batch.View(_index).offset;

    /// <summary>Its timestamp: milliseconds since the epoch; -1 for none.</summary>
    public long TimestampMs => _batch.View(_index).timestamp_ms;

    /// <summary>Whether its key is null.</summary>
    public bool IsKeyNull => _batch.View(_index).key_len < 0;

    /// <summary>Whether its value is null, as where compaction is to forget its key.</summary>
    public bool IsValueNull => _batch.View(_index).value_len < 0;

    /// <summary>Its key; <c>default</c> where it is null, as a producer takes it.</summary>
    public ReadOnlySpan<byte> Key
    {
        get
        {
            ref readonly var view = ref _batch.View(_index);
            return _batch.Part(view.key_off, view.key_len);
        }
    }

    /// <summary>Its value; <c>default</c> where it is null, as a producer takes it.</summary>
    public ReadOnlySpan<byte> Value
    {
        get
        {
            ref readonly var view = ref _batch.View(_index);
            return _batch.Part(view.value_off, view.value_len);
        }
    }

    /// <summary>How many headers it has.</summary>
    public int HeaderCount => (int)_batch.View(_index).header_count;

    /// <summary>Epoch of the leader that wrote it; null where it is not known.</summary>
    public int? LeaderEpoch => _batch.View(_index).leader_epoch is var epoch && epoch < 0 ? null : epoch;

    /// <summary>Its headers, copied.</summary>
    /// <returns>The headers; none where it has none.</returns>
    public Headers GetHeaders() => _batch.HeadersOf(_index);
}

/// <summary>As <see cref="RecordBatch"/>, with keys and values as the program has them.</summary>
/// <typeparam name="TKey">What keys are.</typeparam>
/// <typeparam name="TValue">What values are.</typeparam>
public sealed class RecordBatch<TKey, TValue> : RecordBatch
{
    private readonly IDeserializer<TKey> _keys;
    private readonly IDeserializer<TValue> _values;

    internal RecordBatch(BatchHandle handle, int start, IDeserializer<TKey> keys, IDeserializer<TValue> values)
        : base(handle, start)
    {
        _keys = keys;
        _values = values;
    }

    /// <summary>The records with their keys and values, which are made when a record is asked for, and stay.</summary>
    /// <exception cref="SerializationException">A deserializer failed.</exception>
    public IReadOnlyList<ConsumerRecord<TKey, TValue>> Records => new List(this);

    /// <summary>The same records once more, which stay when this is disposed of.</summary>
    /// <returns>Another batch, to be disposed of, too.</returns>
    public new RecordBatch<TKey, TValue> Retain() => new(Another(), Start, _keys, _values);

    internal RecordBatch<TKey, TValue> From(int index) => new(Another(), Start + index, _keys, _values);

    internal ConsumerRecord<TKey, TValue> Record(int index)
    {
        var view = this[index];
        var headers = view.HeaderCount == 0 ? null : view.GetHeaders();
        var key = view.IsKeyNull ? default : Deserialized(_keys, view.Key, in view, headers, isKey: true);
        var value = view.IsValueNull ? default : Deserialized(_values, view.Value, in view, headers, isKey: false);
        return new ConsumerRecord<TKey, TValue>(TopicPartition, view.Offset, view.TimestampMs, key, value, headers, view.LeaderEpoch);
    }

    private static T Deserialized<T>(IDeserializer<T> deserializer, ReadOnlySpan<byte> data, in RecordView view, Headers? headers, bool isKey)
    {
        try
        {
            return deserializer.Deserialize(data, new SerializationContext(view.TopicPartition.Topic, isKey, headers));
        }
        catch (Exception failure)
        {
            var what = isKey ? "key" : "value";
            throw new SerializationException(
                $"the {what} of the record at `{view.TopicPartition}@{view.Offset}` could not be deserialized: {failure.Message}",
                failure,
                view.TopicPartition,
                view.Offset);
        }
    }

    private sealed class List : IReadOnlyList<ConsumerRecord<TKey, TValue>>
    {
        private readonly RecordBatch<TKey, TValue> _batch;

        internal List(RecordBatch<TKey, TValue> batch) => _batch = batch;

        public int Count => _batch.Count;

        public ConsumerRecord<TKey, TValue> this[int index] => _batch.Record(index);

        public IEnumerator<ConsumerRecord<TKey, TValue>> GetEnumerator()
        {
            for (var i = 0; i < _batch.Count; i++)
            {
                yield return _batch.Record(i);
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}

/// <summary>A record that was read. All of it is its own: it may be kept.</summary>
/// <typeparam name="TKey">What keys are.</typeparam>
/// <typeparam name="TValue">What values are.</typeparam>
public sealed class ConsumerRecord<TKey, TValue>
{
    private Headers? _headers;

    internal ConsumerRecord(
        TopicPartition partition,
        long offset,
        long timestampMs,
        TKey? key,
        TValue? value,
        Headers? headers,
        int? leaderEpoch)
    {
        TopicPartition = partition;
        Offset = offset;
        TimestampMs = timestampMs;
        Key = key;
        Value = value;
        _headers = headers;
        LeaderEpoch = leaderEpoch;
    }

    /// <summary>Where it is from.</summary>
    public TopicPartition TopicPartition { get; }

    /// <summary>The topic's name.</summary>
    public string Topic => TopicPartition.Topic;

    /// <summary>The partition's number.</summary>
    public int Partition => TopicPartition.Partition;

    /// <summary>Its offset in the partition.</summary>
    public long Offset { get; }

    /// <summary>Its timestamp: milliseconds since the epoch; -1 for none.</summary>
    public long TimestampMs { get; }

    /// <summary>Its timestamp; null for none.</summary>
    public DateTimeOffset? Timestamp => TimestampMs < 0 ? null : DateTimeOffset.FromUnixTimeMilliseconds(TimestampMs);

    /// <summary>Its key; null for none.</summary>
    public TKey? Key { get; }

    /// <summary>Its value; null is not the same as empty.</summary>
    public TValue? Value { get; }

    /// <summary>Its headers, in their order.</summary>
    public Headers Headers => _headers ??= new Headers();

    /// <summary>Epoch of the leader that wrote it; null where it is not known.</summary>
    public int? LeaderEpoch { get; }

#if NET5_0_OR_GREATER
    /// <summary>
    /// Begins a span of OpenTelemetry for what the program does with this record, below the one that sent it, of the source <c>Ottla</c>.
    /// </summary>
    /// <returns>The span, to be disposed of at its end; null where nobody listens.</returns>
    public System.Diagnostics.Activity? StartActivity() =>
        Internal.Tracing.IsOn ? Internal.Tracing.Processing(Topic, Partition, Offset, Headers) : null;
#endif

    /// <summary>As <c>orders-0@5</c>.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => $"{TopicPartition}@{Offset}";
}
