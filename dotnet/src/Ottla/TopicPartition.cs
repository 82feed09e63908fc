using System;
using System.Collections.Generic;

namespace Ottla;

/// <summary>A partition of a topic.</summary>
/// <param name="Topic">The topic's name.</param>
/// <param name="Partition">The partition's number.</param>
public readonly record struct TopicPartition(string Topic, int Partition) : IComparable<TopicPartition>
{
    /// <summary>By topic, then by number.</summary>
    /// <param name="other">Another.</param>
    /// <returns>Below zero if this one comes first.</returns>
    public int CompareTo(TopicPartition other)
    {
        var byTopic = string.CompareOrdinal(Topic, other.Topic);
        return byTopic != 0 ? byTopic : Partition.CompareTo(other.Partition);
    }

    /// <summary>As <c>orders-0</c>.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => $"{Topic}-{Partition}";
}

/// <summary>An offset of a partition.</summary>
/// <param name="TopicPartition">The partition.</param>
/// <param name="Offset">The offset.</param>
public readonly record struct TopicPartitionOffset(TopicPartition TopicPartition, long Offset)
{
    /// <summary>An offset of a partition.</summary>
    /// <param name="topic">The topic's name.</param>
    /// <param name="partition">The partition's number.</param>
    /// <param name="offset">The offset.</param>
    public TopicPartitionOffset(string topic, int partition, long offset)
        : this(new TopicPartition(topic, partition), offset)
    {
    }

    /// <summary>As <c>orders-0@5</c>.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => $"{TopicPartition}@{Offset}";
}

/// <summary>What is committed of a partition.</summary>
/// <param name="Offset">That of the next record to be read.</param>
/// <param name="Metadata">What the program keeps beside it.</param>
/// <param name="LeaderEpoch">The epoch of the leader that wrote the record before; null where it is not known.</param>
public readonly record struct OffsetAndMetadata(long Offset, string Metadata = "", int? LeaderEpoch = null);

/// <summary>An offset that was looked for by time.</summary>
/// <param name="Offset">The offset.</param>
/// <param name="TimestampMs">The record's timestamp: milliseconds since the epoch; -1 where the broker does not tell.</param>
/// <param name="LeaderEpoch">The epoch of the leader that wrote it; null where it is not known.</param>
public readonly record struct OffsetAndTimestamp(long Offset, long TimestampMs, int? LeaderEpoch);

/// <summary>Where a record was written.</summary>
/// <param name="Topic">The topic's name.</param>
/// <param name="Partition">The partition's number.</param>
/// <param name="Offset">The offset; -1 where the broker does not tell, as with <c>acks=0</c>.</param>
/// <param name="TimestampMs">The record's timestamp: milliseconds since the epoch.</param>
public readonly record struct RecordMetadata(string Topic, int Partition, long Offset, long TimestampMs)
{
    /// <summary>Both together.</summary>
    public TopicPartition TopicPartition => new(Topic, Partition);

    /// <summary>The record's timestamp.</summary>
    public DateTimeOffset Timestamp => DateTimeOffset.FromUnixTimeMilliseconds(TimestampMs);
}

/// <summary>Between which offsets a partition can be read.</summary>
/// <param name="Low">The first that is still there.</param>
/// <param name="High">The one behind the last.</param>
public readonly record struct Watermarks(long Low, long High);

/// <summary>Which offset of a partition is meant.</summary>
public readonly struct OffsetSpec : IEquatable<OffsetSpec>
{
    private const uint EarliestKind = 1;
    private const uint LatestKind = 2;
    private const uint TimestampKind = 3;

    private OffsetSpec(uint kind, long timestampMs)
    {
        Kind = kind;
        TimestampMs = timestampMs;
    }

    /// <summary>That of the first record that is still there.</summary>
    public static OffsetSpec Earliest { get; } = new(EarliestKind, -1);

    /// <summary>That behind the last record.</summary>
    public static OffsetSpec Latest { get; } = new(LatestKind, -1);

    internal uint Kind { get; }

    internal long TimestampMs { get; }

    /// <summary>That of the first record of a time, or a later one.</summary>
    /// <param name="time">The time.</param>
    /// <returns>The offset that is meant.</returns>
    public static OffsetSpec At(DateTimeOffset time) => new(TimestampKind, time.ToUnixTimeMilliseconds());

    /// <inheritdoc/>
    public bool Equals(OffsetSpec other) => Kind == other.Kind && TimestampMs == other.TimestampMs;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is OffsetSpec other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Kind, TimestampMs);

    /// <summary>Whether two mean the same.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Whether they do.</returns>
    public static bool operator ==(OffsetSpec left, OffsetSpec right) => left.Equals(right);

    /// <summary>Whether two mean something else.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Whether they do.</returns>
    public static bool operator !=(OffsetSpec left, OffsetSpec right) => !left.Equals(right);
}
