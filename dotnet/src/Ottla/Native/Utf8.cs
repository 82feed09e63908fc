using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Ottla.Native;

/// <summary>Text as the library takes it, for the length of a call: UTF-8 that ends with a zero.</summary>
internal readonly unsafe ref struct Utf8
{
    internal Utf8(string? text) => Pointer = Texts.Allocate(text);

    /// <summary>The first byte; null for no text.</summary>
    internal byte* Pointer { get; }

    public void Dispose() => Marshal.FreeHGlobal((IntPtr)Pointer);
}

/// <summary>Texts and lists for one call, freed together.</summary>
internal sealed unsafe class Scratch : IDisposable
{
    private readonly List<IntPtr> _blocks = new();

    internal byte* Text(string? text)
    {
        var at = Texts.Allocate(text);
        _blocks.Add((IntPtr)at);
        return at;
    }

    /// <summary>Room for as many structs, all zero.</summary>
    internal T* List<T>(int count)
        where T : unmanaged
    {
        var bytes = Math.Max(1, checked(count * sizeof(T)));
        var at = Marshal.AllocHGlobal(bytes);
        _blocks.Add(at);
        new Span<byte>((void*)at, bytes).Clear();
        return (T*)at;
    }

    internal byte** Names(IReadOnlyList<string> texts)
    {
        var list = (byte**)List<IntPtr>(texts.Count);
        for (var i = 0; i < texts.Count; i++)
        {
            list[i] = Text(texts[i] ?? throw new ArgumentException("a name is null"));
        }
        return list;
    }

    internal ottla_topic_partition* Partitions(IReadOnlyList<TopicPartition> partitions)
    {
        var rows = List<ottla_topic_partition>(partitions.Count);
        for (var i = 0; i < partitions.Count; i++)
        {
            rows[i] = Row(partitions[i]);
        }
        return rows;
    }

    internal ottla_topic_partition Row(TopicPartition partition) => new()
    {
        topic = Text(partition.Topic),
        partition = partition.Partition,
        offset = -1,
        timestamp_ms = -1,
        leader_epoch = -1,
    };

    internal ottla_topic_partition* Offsets(IReadOnlyCollection<KeyValuePair<TopicPartition, OffsetAndMetadata>> offsets)
    {
        var rows = List<ottla_topic_partition>(offsets.Count);
        var i = 0;
        foreach (var (partition, at) in offsets)
        {
            rows[i] = Row(partition);
            rows[i].offset = at.Offset;
            rows[i].leader_epoch = at.LeaderEpoch ?? -1;
            rows[i].metadata = string.IsNullOrEmpty(at.Metadata) ? null : Text(at.Metadata);
            i++;
        }
        return rows;
    }

    public void Dispose()
    {
        foreach (var block in _blocks)
        {
            Marshal.FreeHGlobal(block);
        }
        _blocks.Clear();
    }
}

/// <summary>Texts from and for the library.</summary>
internal static unsafe class Texts
{
    internal static byte* Allocate(string? text)
    {
        if (text is null)
        {
            return null;
        }
        if (text.IndexOf('\0') >= 0)
        {
            throw new ArgumentException("a text has a zero in it, where the library's end");
        }
        var count = Encoding.UTF8.GetByteCount(text);
        var at = (byte*)Marshal.AllocHGlobal(count + 1);
        Encoding.UTF8.GetBytes(text, new Span<byte>(at, count));
        at[count] = 0;
        return at;
    }

    internal static string? Maybe(byte* text) => text == null ? null : Read(text);

    internal static string Read(byte* text)
    {
        if (text == null)
        {
            return "";
        }
        var end = text;
        while (*end != 0)
        {
            end++;
        }
        return Encoding.UTF8.GetString(text, checked((int)(end - text)));
    }

    internal static string Read(in ottla_slice text) => Encoding.UTF8.GetString(text.ptr, checked((int)text.len));

    internal static byte[]? Bytes(in ottla_slice bytes) =>
        bytes.ptr == null ? null : new ReadOnlySpan<byte>(bytes.ptr, checked((int)bytes.len)).ToArray();
}
