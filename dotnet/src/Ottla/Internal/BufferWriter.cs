using System;
using System.Buffers;

namespace Ottla.Internal;

/// <summary>Where a key or a value is serialized to: an array that grows, and is used again.</summary>
internal sealed class BufferWriter : IBufferWriter<byte>
{
    private const int BytesMin = 256;

    /// <summary>A larger one is not kept for the next record.</summary>
    private const int KeptBytesMax = 1 << 20;

    private byte[] _buffer = new byte[BytesMin];
    private int _count;

    internal ReadOnlySpan<byte> Written => new(_buffer, 0, _count);

    internal bool IsWorthKeeping => _buffer.Length <= KeptBytesMax;

    internal void Clear() => _count = 0;

    public void Advance(int count)
    {
        if (count < 0 || count > _buffer.Length - _count)
        {
            throw new ArgumentOutOfRangeException(nameof(count), "a serializer has written more than it asked for");
        }
        _count += count;
    }

    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsMemory(_count);
    }

    public Span<byte> GetSpan(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsSpan(_count);
    }

    private void Reserve(int sizeHint)
    {
        var needed = Math.Max(1, sizeHint);
        if (_buffer.Length - _count < needed)
        {
            Array.Resize(ref _buffer, checked((int)Math.Max((long)_buffer.Length * 2, (long)_count + needed)));
        }
    }
}

/// <summary>The two that a record needs, of each thread.</summary>
internal sealed class RecordBuffers
{
    [ThreadStatic]
    private static RecordBuffers? s_kept;

    internal BufferWriter Key { get; } = new();

    internal BufferWriter Value { get; } = new();

    /// <summary>Nobody else has them before they are given back, though a serializer sends records itself.</summary>
    internal static RecordBuffers Take()
    {
        var taken = s_kept ?? new RecordBuffers();
        s_kept = null;
        taken.Key.Clear();
        taken.Value.Clear();
        return taken;
    }

    internal void GiveBack()
    {
        if (Key.IsWorthKeeping && Value.IsWorthKeeping)
        {
            s_kept = this;
        }
    }
}
