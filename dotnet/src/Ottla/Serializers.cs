using System;
using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Ottla;

/// <summary>What a key or a value belongs to.</summary>
public readonly struct SerializationContext
{
    internal SerializationContext(string topic, bool isKey, Headers? headers)
    {
        Topic = topic;
        IsKey = isKey;
        Headers = headers;
    }

    /// <summary>The topic.</summary>
    public string Topic { get; }

    /// <summary>Whether it is a key; else it is a value.</summary>
    public bool IsKey { get; }

    /// <summary>The record's headers; null where it has none.</summary>
    public Headers? Headers { get; }
}

/// <summary>Makes bytes of keys or values. Called by many threads at once.</summary>
/// <typeparam name="T">What they are.</typeparam>
public interface ISerializer<in T>
{
    /// <summary>Writes one. A null never comes here: it is null on the wire.</summary>
    /// <param name="value">The key or value.</param>
    /// <param name="writer">Where to.</param>
    /// <param name="context">What it belongs to.</param>
    void Serialize(T value, IBufferWriter<byte> writer, SerializationContext context);
}

/// <summary>Makes keys or values of bytes. Called by many threads at once.</summary>
/// <typeparam name="T">What they are.</typeparam>
public interface IDeserializer<out T>
{
    /// <summary>Reads one. A null on the wire never comes here: it is the type's default, as null.</summary>
    /// <param name="data">Its bytes, for the length of the call.</param>
    /// <param name="context">What it belongs to.</param>
    /// <returns>The key or value.</returns>
    T Deserialize(ReadOnlySpan<byte> data, SerializationContext context);
}

/// <summary>Both ways in one.</summary>
/// <typeparam name="T">What keys or values are.</typeparam>
public interface ISerde<T> : ISerializer<T>, IDeserializer<T>
{
}

/// <summary>Those for common types, with the bytes that Kafka's own have.</summary>
public static class Serdes
{
    /// <summary>Bytes as they are.</summary>
    public static ISerde<byte[]> Bytes { get; } = new BytesSerde();

    /// <summary>Bytes as they are, of which only a part is meant.</summary>
    public static ISerde<ReadOnlyMemory<byte>> Memory { get; } = new MemorySerde();

    /// <summary>Text as UTF-8.</summary>
    public static ISerde<string> Utf8 { get; } = new Utf8Serde();

    /// <summary>A number of 4 bytes, the highest first.</summary>
    public static ISerde<int> Int32 { get; } = new Int32Serde();

    /// <summary>A number of 8 bytes, the highest first.</summary>
    public static ISerde<long> Int64 { get; } = new Int64Serde();

    /// <summary>A floating number of 8 bytes, the highest first.</summary>
    public static ISerde<double> Double { get; } = new DoubleSerde();

    /// <summary>Sixteen bytes, as text writes them: not as Kafka's UUIDSerializer, which writes the text.</summary>
    public static ISerde<Guid> Guid { get; } = new GuidSerde();

    /// <summary>The one for a type, where there is one.</summary>
    /// <typeparam name="T">The type.</typeparam>
    /// <returns>The serde.</returns>
    /// <exception cref="ArgumentException">There is none; the client takes one of the program's.</exception>
    internal static ISerde<T> Default<T>() => Find<T>()
        ?? throw new ArgumentException($"there is no serializer for `{typeof(T)}`: give one to the client, as `Serdes` has them for common types");

    private static ISerde<T>? Find<T>() =>
        Bytes as ISerde<T> ?? Utf8 as ISerde<T> ?? Memory as ISerde<T> ?? Int32 as ISerde<T> ?? Int64 as ISerde<T>
        ?? Double as ISerde<T> ?? Guid as ISerde<T>;

    private static ReadOnlySpan<byte> Sized(ReadOnlySpan<byte> data, int size) => data.Length == size
        ? data
        : throw new FormatException($"there are {data.Length} bytes, and {size} are expected");

    private sealed class BytesSerde : ISerde<byte[]>
    {
        public void Serialize(byte[] value, IBufferWriter<byte> writer, SerializationContext context) => writer.Write(value);

        public byte[] Deserialize(ReadOnlySpan<byte> data, SerializationContext context) => data.ToArray();
    }

    private sealed class MemorySerde : ISerde<ReadOnlyMemory<byte>>
    {
        public void Serialize(ReadOnlyMemory<byte> value, IBufferWriter<byte> writer, SerializationContext context) => writer.Write(value.Span);

        public ReadOnlyMemory<byte> Deserialize(ReadOnlySpan<byte> data, SerializationContext context) => data.ToArray();
    }

    private sealed class Utf8Serde : ISerde<string>
    {
        public void Serialize(string value, IBufferWriter<byte> writer, SerializationContext context)
        {
            var room = writer.GetSpan(Encoding.UTF8.GetMaxByteCount(value.Length));
            writer.Advance(Encoding.UTF8.GetBytes(value, room));
        }

        public string Deserialize(ReadOnlySpan<byte> data, SerializationContext context) => Encoding.UTF8.GetString(data);
    }

    private sealed class Int32Serde : ISerde<int>
    {
        public void Serialize(int value, IBufferWriter<byte> writer, SerializationContext context)
        {
            BinaryPrimitives.WriteInt32BigEndian(writer.GetSpan(sizeof(int)), value);
            writer.Advance(sizeof(int));
        }

        public int Deserialize(ReadOnlySpan<byte> data, SerializationContext context) =>
            BinaryPrimitives.ReadInt32BigEndian(Sized(data, sizeof(int)));
    }

    private sealed class Int64Serde : ISerde<long>
    {
        public void Serialize(long value, IBufferWriter<byte> writer, SerializationContext context)
        {
            BinaryPrimitives.WriteInt64BigEndian(writer.GetSpan(sizeof(long)), value);
            writer.Advance(sizeof(long));
        }

        public long Deserialize(ReadOnlySpan<byte> data, SerializationContext context) =>
            BinaryPrimitives.ReadInt64BigEndian(Sized(data, sizeof(long)));
    }

    private sealed class DoubleSerde : ISerde<double>
    {
        public void Serialize(double value, IBufferWriter<byte> writer, SerializationContext context) =>
            Int64.Serialize(BitConverter.DoubleToInt64Bits(value), writer, context);

        public double Deserialize(ReadOnlySpan<byte> data, SerializationContext context) =>
            BitConverter.Int64BitsToDouble(Int64.Deserialize(data, context));
    }

    private sealed class GuidSerde : ISerde<Guid>
    {
        private const int Size = 16;

        public void Serialize(Guid value, IBufferWriter<byte> writer, SerializationContext context)
        {
            var room = writer.GetSpan(Size)[..Size];
            value.TryWriteBytes(room);
            Turn(room);
            writer.Advance(Size);
        }

        public Guid Deserialize(ReadOnlySpan<byte> data, SerializationContext context)
        {
            Span<byte> bytes = stackalloc byte[Size];
            Sized(data, Size).CopyTo(bytes);
            Turn(bytes);
            return new Guid(bytes);
        }

        /// <summary>.NET has the first three groups the lowest byte first.</summary>
        private static void Turn(Span<byte> bytes)
        {
            bytes[..4].Reverse();
            bytes[4..6].Reverse();
            bytes[6..8].Reverse();
        }
    }
}
