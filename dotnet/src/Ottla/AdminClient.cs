using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Internal;
using Ottla.Native;

namespace Ottla;

/// <summary>Looks after topics, configurations, groups and offsets. Thread-safe.</summary>
/// <remarks>
/// What is asked of one thing fails with why it failed. Where several are asked for and some fail, it is a
/// <see cref="PartialFailureException"/>, and the others were done.
/// </remarks>
public sealed class AdminClient : IAsyncDisposable, IDisposable
{
    private readonly AdminHandle _handle;

    /// <summary>One with these settings. Connections come when they are needed.</summary>
    /// <param name="options">The settings.</param>
    /// <exception cref="OttlaException">A setting is wrong.</exception>
    public unsafe AdminClient(AdminOptions options)
    {
        _ = options ?? throw new ArgumentNullException(nameof(options));
        using var config = options.Made();
        using var held = config.Hold(out var settings);
        ottla_admin* admin;
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_admin_new(settings, &admin, &error), error);
        _handle = new AdminHandle(admin) { Keeps = options.OAuthBearerTokenProvider };
    }

    /// <summary>One with default settings.</summary>
    /// <param name="bootstrapServers">Brokers to ask first, as <c>host:port,host:port</c>.</param>
    public AdminClient(string bootstrapServers)
        : this(new AdminOptions(bootstrapServers))
    {
    }

    // ---- topics

    /// <summary>Creates topics.</summary>
    /// <param name="topics">The topics.</param>
    /// <param name="validateOnly">Whether it is only to be said if they could be.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when they are there.</returns>
    public unsafe Task CreateTopicsAsync(
        IEnumerable<NewTopic> topics,
        bool validateOnly = false,
        CancellationToken cancellationToken = default)
    {
        var wanted = topics.ToArray();
        using var scratch = new Scratch();
        var rows = scratch.List<ottla_new_topic>(wanted.Length);
        for (var i = 0; i < wanted.Length; i++)
        {
            var configs = scratch.List<ottla_pair>(wanted[i].Config.Count);
            var pairs = 0;
            foreach (var (key, value) in wanted[i].Config)
            {
                configs[pairs++] = new ottla_pair { name = scratch.Text(key), value = scratch.Text(value) };
            }
            rows[i] = new ottla_new_topic
            {
                size = (uint)sizeof(ottla_new_topic),
                partitions = wanted[i].Partitions ?? -1,
                replication_factor = wanted[i].ReplicationFactor ?? -1,
                name = scratch.Text(wanted[i].Name),
                configs = configs,
                config_count = (nuint)pairs,
            };
        }
        using var held = _handle.Hold(out var admin);
        return Done(NativeMethods.ottla_admin_create_topics(admin, rows, (nuint)wanted.Length, validateOnly), cancellationToken);
    }

    /// <summary>Deletes topics with all their records.</summary>
    /// <param name="names">The topics' names.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when they are deleted.</returns>
    public unsafe Task DeleteTopicsAsync(IEnumerable<string> names, CancellationToken cancellationToken = default)
    {
        var texts = names.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_delete_topics(admin, scratch.Names(texts), (nuint)texts.Length);
        return Done(call, cancellationToken);
    }

    /// <summary>Raises the number of partitions of a topic.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="partitions">How many it is to have in all.</param>
    /// <param name="validateOnly">Whether it is only to be said if that could be.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when it has them.</returns>
    public unsafe Task CreatePartitionsAsync(
        string topic,
        int partitions,
        bool validateOnly = false,
        CancellationToken cancellationToken = default)
    {
        using var name = new Utf8(topic);
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_create_partitions(admin, name.Pointer, partitions, validateOnly);
        return Done(call, cancellationToken);
    }

    /// <summary>All topics.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The topics, by name.</returns>
    public unsafe Task<IReadOnlyList<TopicListing>> ListTopicsAsync(CancellationToken cancellationToken = default)
    {
        using var held = _handle.Hold(out var admin);
        return EventLoop.Shared.Start(NativeMethods.ottla_admin_list_topics(admin), AdminResults.TopicListings, cancellationToken);
    }

    /// <summary>Describes topics.</summary>
    /// <param name="names">The topics' names.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The topics, by name.</returns>
    public unsafe Task<IReadOnlyDictionary<string, TopicDescription>> DescribeTopicsAsync(
        IEnumerable<string> names,
        CancellationToken cancellationToken = default)
    {
        var texts = names.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_describe_topics(admin, scratch.Names(texts), (nuint)texts.Length);
        return EventLoop.Shared.Start(call, AdminResults.Topics, cancellationToken);
    }

    // ---- configurations

    /// <summary>The configuration of a topic or broker.</summary>
    /// <param name="resource">Whose.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Its entries, by key.</returns>
    public unsafe Task<IReadOnlyDictionary<string, ConfigEntry>> DescribeConfigAsync(
        ConfigResource resource,
        CancellationToken cancellationToken = default)
    {
        using var name = new Utf8(resource.Name);
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_describe_config(admin, resource.Kind, name.Pointer);
        return EventLoop.Shared.Start(call, AdminResults.Config, cancellationToken);
    }

    /// <summary>Sets keys of a configuration, and leaves the others alone.</summary>
    /// <param name="resource">Whose.</param>
    /// <param name="changes">Keys with their values; a value that is null takes a key back to its default.</param>
    /// <param name="validateOnly">Whether it is only to be said if that could be.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when they are set.</returns>
    public unsafe Task AlterConfigAsync(
        ConfigResource resource,
        IReadOnlyDictionary<string, string?> changes,
        bool validateOnly = false,
        CancellationToken cancellationToken = default)
    {
        using var scratch = new Scratch();
        var rows = scratch.List<ottla_pair>(changes.Count);
        var count = 0;
        foreach (var (key, value) in changes)
        {
            rows[count++] = new ottla_pair { name = scratch.Text(key), value = scratch.Text(value) };
        }
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_alter_config(
            admin, resource.Kind, scratch.Text(resource.Name), rows, (nuint)count, validateOnly);
        return Done(call, cancellationToken);
    }

    // ---- groups

    /// <summary>All groups.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The groups.</returns>
    public unsafe Task<IReadOnlyList<GroupListing>> ListGroupsAsync(CancellationToken cancellationToken = default)
    {
        using var held = _handle.Hold(out var admin);
        return EventLoop.Shared.Start(NativeMethods.ottla_admin_list_groups(admin), AdminResults.GroupListings, cancellationToken);
    }

    /// <summary>Describes groups with their members.</summary>
    /// <param name="groups">The groups' names.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The groups, by name.</returns>
    public unsafe Task<IReadOnlyDictionary<string, GroupDescription>> DescribeGroupsAsync(
        IEnumerable<string> groups,
        CancellationToken cancellationToken = default)
    {
        var texts = groups.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_describe_groups(admin, scratch.Names(texts), (nuint)texts.Length);
        return EventLoop.Shared.Start(call, AdminResults.Groups, cancellationToken);
    }

    /// <summary>Deletes groups without members, with the offsets that they have committed.</summary>
    /// <param name="groups">The groups' names.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when they are deleted.</returns>
    public unsafe Task DeleteGroupsAsync(IEnumerable<string> groups, CancellationToken cancellationToken = default)
    {
        var texts = groups.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_delete_groups(admin, scratch.Names(texts), (nuint)texts.Length);
        return Done(call, cancellationToken);
    }

    /// <summary>All offsets that a group has committed.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The offsets.</returns>
    public unsafe Task<IReadOnlyDictionary<TopicPartition, OffsetAndMetadata>> GetGroupOffsetsAsync(
        string group,
        CancellationToken cancellationToken = default)
    {
        using var name = new Utf8(group);
        using var held = _handle.Hold(out var admin);
        return EventLoop.Shared.Start(
            NativeMethods.ottla_admin_group_offsets(admin, name.Pointer), AdminResults.Offsets, cancellationToken);
    }

    /// <summary>Commits offsets in the name of a group without members.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="offsets">The offsets.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when the group has them.</returns>
    public unsafe Task AlterGroupOffsetsAsync(
        string group,
        IReadOnlyDictionary<TopicPartition, OffsetAndMetadata> offsets,
        CancellationToken cancellationToken = default)
    {
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_alter_group_offsets(
            admin, scratch.Text(group), scratch.Offsets(offsets), (nuint)offsets.Count);
        return Done(call, cancellationToken);
    }

    /// <summary>Forgets offsets that a group has committed, of topics that no member of it reads.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="partitions">The partitions.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>Done when they are forgotten.</returns>
    public unsafe Task DeleteGroupOffsetsAsync(
        string group,
        IEnumerable<TopicPartition> partitions,
        CancellationToken cancellationToken = default)
    {
        var asked = partitions.ToArray();
        using var scratch = new Scratch();
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_delete_group_offsets(
            admin, scratch.Text(group), scratch.Partitions(asked), (nuint)asked.Length);
        return Done(call, cancellationToken);
    }

    // ---- the cluster

    /// <summary>The offsets that are meant.</summary>
    /// <param name="partitions">Of which partitions.</param>
    /// <param name="place">Which offset of each.</param>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>The offsets; -1 where there is none.</returns>
    public unsafe Task<IReadOnlyDictionary<TopicPartition, OffsetAndTimestamp>> ListOffsetsAsync(
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
        using var held = _handle.Hold(out var admin);
        var call = NativeMethods.ottla_admin_list_offsets(admin, place.Kind, rows, (nuint)asked.Length);
        return EventLoop.Shared.Start(call, AdminResults.ListedOffsets, cancellationToken);
    }

    /// <summary>The cluster and its brokers.</summary>
    /// <param name="cancellationToken">Gives up the wait.</param>
    /// <returns>What there is.</returns>
    public unsafe Task<ClusterDescription> DescribeClusterAsync(CancellationToken cancellationToken = default)
    {
        using var held = _handle.Hold(out var admin);
        return EventLoop.Shared.Start(NativeMethods.ottla_admin_describe_cluster(admin), AdminResults.Cluster, cancellationToken);
    }

    /// <summary>Lets go of the client; what is under way ends all the same.</summary>
    public void Dispose() => _handle.Dispose();

    /// <summary>As <see cref="Dispose"/>.</summary>
    /// <returns>Done at once.</returns>
    public ValueTask DisposeAsync()
    {
        Dispose();
        return default;
    }

    private static unsafe Task Done(ottla_call* call, CancellationToken cancellation) =>
        EventLoop.Shared.Start(call, AdminResults.Done, cancellation);
}
