using System;
using System.Collections.Generic;
using System.Threading;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>Times as the library takes them.</summary>
internal static class Milliseconds
{
    /// <summary>Below zero for ever; what is too long for a number is as good as that.</summary>
    internal static int Of(TimeSpan time)
    {
        if (time == Timeout.InfiniteTimeSpan)
        {
            return -1;
        }
        if (time < TimeSpan.Zero)
        {
            throw new ArgumentOutOfRangeException(nameof(time), "a time is below zero");
        }
        var milliseconds = Math.Ceiling(time.TotalMilliseconds);
        return milliseconds >= int.MaxValue ? -1 : (int)milliseconds;
    }
}

/// <summary>What calls give, as .NET has it.</summary>
internal static unsafe class Results
{
    internal static IReadOnlyDictionary<string, double> Metrics(ottla_metric[] metrics, int count)
    {
        var values = new Dictionary<string, double>(count);
        for (var i = 0; i < Math.Min(count, metrics.Length); i++)
        {
            values[Texts.Read(metrics[i].name)] = metrics[i].value;
        }
        return values;
    }

    internal static TopicPartition Partition(in ottla_topic_partition row) => new(Texts.Read(row.topic), row.partition);

    internal static OffsetAndMetadata Committed(in ottla_topic_partition row) =>
        new(row.offset, Texts.Read(row.metadata), row.leader_epoch < 0 ? null : row.leader_epoch);

    internal static OffsetAndTimestamp Listed(in ottla_topic_partition row) =>
        new(row.offset, row.timestamp_ms, row.leader_epoch < 0 ? null : row.leader_epoch);

    /// <summary>Partitions of a result, by their name.</summary>
    internal static IReadOnlyDictionary<TopicPartition, T> Partitions<T>(IntPtr result, Func<ottla_topic_partition, T> of)
    {
        nuint count;
        var rows = NativeMethods.ottla_result_partitions((ottla_result*)result, &count);
        var found = new Dictionary<TopicPartition, T>((int)count);
        for (var i = 0; i < (int)count; i++)
        {
            found[Partition(in rows[i])] = of(rows[i]);
        }
        return found;
    }

    internal static IReadOnlyList<TopicPartition> Partitions(ottla_topic_partition* rows, nuint count)
    {
        var found = new TopicPartition[(int)count];
        for (var i = 0; i < found.Length; i++)
        {
            found[i] = Partition(in rows[i]);
        }
        return found;
    }

    /// <summary>A list that is freed.</summary>
    internal static IReadOnlyList<TopicPartition> Taken(ottla_partitions* list)
    {
        try
        {
            nuint count;
            var rows = NativeMethods.ottla_partitions_rows(list, &count);
            return Partitions(rows, count);
        }
        finally
        {
            NativeMethods.ottla_partitions_free(list);
        }
    }
}
