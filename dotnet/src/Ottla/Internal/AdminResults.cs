using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>What calls of an admin client give, as .NET has it.</summary>
internal static unsafe class AdminResults
{
    internal static bool Done(IntPtr result)
    {
        Check(result);
        return true;
    }

    internal static IReadOnlyList<TopicListing> TopicListings(IntPtr result)
    {
        nuint count;
        var rows = NativeMethods.ottla_result_topics((ottla_result*)result, &count);
        var topics = new TopicListing[(int)count];
        for (var i = 0; i < topics.Length; i++)
        {
            topics[i] = new TopicListing(Texts.Read(rows[i].name), Id(rows + i), (int)rows[i].partition_count, rows[i].is_internal);
        }
        return topics;
    }

    internal static IReadOnlyDictionary<string, TopicDescription> Topics(IntPtr result)
    {
        Check(result);
        nuint count;
        var rows = NativeMethods.ottla_result_topics((ottla_result*)result, &count);
        var topics = new Dictionary<string, TopicDescription>((int)count);
        for (var i = 0; i < (int)count; i++)
        {
            var partitions = new PartitionDescription[(int)rows[i].partition_count];
            for (var p = 0; p < partitions.Length; p++)
            {
                ref readonly var row = ref rows[i].partitions[p];
                partitions[p] = new PartitionDescription(
                    row.partition,
                    row.leader < 0 ? null : row.leader,
                    row.leader_epoch,
                    Numbers(row.replicas, row.replica_count),
                    Numbers(row.in_sync, row.in_sync_count));
            }
            var name = Texts.Read(rows[i].name);
            topics[name] = new TopicDescription(name, Id(rows + i), partitions, rows[i].is_internal);
        }
        return topics;
    }

    internal static IReadOnlyDictionary<string, ConfigEntry> Config(IntPtr result)
    {
        Check(result);
        nuint count;
        var rows = NativeMethods.ottla_result_configs((ottla_result*)result, &count);
        var entries = new Dictionary<string, ConfigEntry>();
        for (var i = 0; i < (int)count; i++)
        {
            for (var e = 0; e < (int)rows[i].entry_count; e++)
            {
                ref readonly var row = ref rows[i].entries[e];
                var name = Texts.Read(row.name);
                var source = (ConfigSource)row.source;
                entries[name] = new ConfigEntry(name, Texts.Maybe(row.value), source, row.is_read_only, row.is_sensitive);
            }
        }
        return entries;
    }

    internal static IReadOnlyList<GroupListing> GroupListings(IntPtr result)
    {
        nuint count;
        var rows = NativeMethods.ottla_result_groups((ottla_result*)result, &count);
        var groups = new GroupListing[(int)count];
        for (var i = 0; i < groups.Length; i++)
        {
            groups[i] = new GroupListing(
                Texts.Read(rows[i].group_id),
                Texts.Read(rows[i].state),
                Texts.Read(rows[i].group_type),
                Texts.Read(rows[i].protocol_type));
        }
        return groups;
    }

    internal static IReadOnlyDictionary<string, GroupDescription> Groups(IntPtr result)
    {
        Check(result);
        nuint count;
        var rows = NativeMethods.ottla_result_groups((ottla_result*)result, &count);
        var groups = new Dictionary<string, GroupDescription>((int)count);
        for (var i = 0; i < (int)count; i++)
        {
            var members = new MemberDescription[(int)rows[i].member_count];
            for (var m = 0; m < members.Length; m++)
            {
                ref readonly var row = ref rows[i].members[m];
                members[m] = new MemberDescription(
                    Texts.Read(row.member_id),
                    Texts.Maybe(row.instance_id),
                    Texts.Read(row.client_id),
                    Texts.Read(row.host),
                    Results.Partitions(row.assignment, row.assignment_count));
            }
            var group = Texts.Read(rows[i].group_id);
            groups[group] = new GroupDescription(
                group,
                Texts.Read(rows[i].state),
                Texts.Read(rows[i].group_type),
                Texts.Read(rows[i].protocol_type),
                Texts.Read(rows[i].assignor),
                rows[i].coordinator < 0 ? null : rows[i].coordinator,
                members);
        }
        return groups;
    }

    internal static IReadOnlyDictionary<TopicPartition, OffsetAndMetadata> Offsets(IntPtr result)
    {
        Check(result);
        return Results.Partitions(result, static row => Results.Committed(in row));
    }

    internal static IReadOnlyDictionary<TopicPartition, OffsetAndTimestamp> ListedOffsets(IntPtr result)
    {
        Check(result);
        return Results.Partitions(result, static row => Results.Listed(in row));
    }

    internal static ClusterDescription Cluster(IntPtr result)
    {
        var of = (ottla_result*)result;
        nuint count;
        var rows = NativeMethods.ottla_result_brokers(of, &count);
        var brokers = new BrokerDescription[(int)count];
        for (var i = 0; i < brokers.Length; i++)
        {
            brokers[i] = new BrokerDescription(rows[i].id, Texts.Read(rows[i].host), rows[i].port, Texts.Maybe(rows[i].rack));
        }
        var controller = NativeMethods.ottla_result_number(of);
        return new ClusterDescription(
            Texts.Read(NativeMethods.ottla_result_cluster_id(of)),
            controller < 0 ? null : (int)controller,
            brokers);
    }

    /// <summary>Throws if something that was asked for has failed.</summary>
    private static void Check(IntPtr result)
    {
        nuint count;
        var rows = NativeMethods.ottla_result_outcomes((ottla_result*)result, &count);
        OttlaException? first = null;
        Dictionary<string, OttlaException>? failures = null;
        for (var i = 0; i < (int)count; i++)
        {
            if (rows[i].status == 0)
            {
                continue;
            }
            var failure = rows[i].error == null ? OttlaException.Take(rows[i].status, null) : OttlaException.Of(rows[i].error);
            var name = Texts.Read(rows[i].name);
            failures ??= new Dictionary<string, OttlaException>();
            failures[rows[i].partition < 0 ? name : $"{name}-{rows[i].partition}"] = failure;
            first ??= failure;
        }
        if (first is not null)
        {
            throw count == 1 ? first : new PartialFailureException(first, failures!, (int)count);
        }
    }

    private static IReadOnlyList<int> Numbers(int* first, nuint count) => new ReadOnlySpan<int>(first, (int)count).ToArray();

    /// <summary>The library has it the first byte first; .NET has three groups of it the other way round.</summary>
    private static Guid Id(ottla_topic_info* topic)
    {
        var bytes = new ReadOnlySpan<byte>(topic->id, 16);
        return new Guid(
            BinaryPrimitives.ReadInt32BigEndian(bytes),
            BinaryPrimitives.ReadInt16BigEndian(bytes[4..]),
            BinaryPrimitives.ReadInt16BigEndian(bytes[6..]),
            bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]);
    }
}
