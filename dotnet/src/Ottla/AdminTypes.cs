using System;
using System.Collections.Generic;

namespace Ottla;

/// <summary>A topic to be created.</summary>
public sealed class NewTopic
{
    /// <summary>One of a name.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="partitions">How many partitions; null leaves it to the broker.</param>
    /// <param name="replicationFactor">How many replicas of each; null leaves it to the broker.</param>
    public NewTopic(string name, int? partitions = null, int? replicationFactor = null)
    {
        Name = name ?? throw new ArgumentNullException(nameof(name));
        Partitions = partitions;
        ReplicationFactor = replicationFactor;
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>How many partitions; null leaves it to the broker.</summary>
    public int? Partitions { get; }

    /// <summary>How many replicas of each; null leaves it to the broker.</summary>
    public int? ReplicationFactor { get; }

    /// <summary>Configuration that differs from the broker's.</summary>
    public IDictionary<string, string> Config { get; } = new Dictionary<string, string>();
}

/// <summary>A topic, in short.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Id">Its id.</param>
/// <param name="PartitionCount">How many partitions it has.</param>
/// <param name="IsInternal">Whether it is one of Kafka's own, as <c>__consumer_offsets</c>.</param>
public sealed record TopicListing(string Name, Guid Id, int PartitionCount, bool IsInternal);

/// <summary>A topic.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Id">Its id.</param>
/// <param name="Partitions">Its partitions, by number.</param>
/// <param name="IsInternal">Whether it is one of Kafka's own, as <c>__consumer_offsets</c>.</param>
public sealed record TopicDescription(string Name, Guid Id, IReadOnlyList<PartitionDescription> Partitions, bool IsInternal);

/// <summary>A partition and its replicas.</summary>
/// <param name="Partition">Its number.</param>
/// <param name="Leader">The broker that leads it; null for none.</param>
/// <param name="LeaderEpoch">Counts its leaders.</param>
/// <param name="Replicas">The brokers of its replicas, the preferred leader first.</param>
/// <param name="InSync">Those of them that are in sync.</param>
public sealed record PartitionDescription(
    int Partition,
    int? Leader,
    int LeaderEpoch,
    IReadOnlyList<int> Replicas,
    IReadOnlyList<int> InSync);

/// <summary>What has a configuration.</summary>
public readonly record struct ConfigResource
{
    private const uint TopicKind = 2;
    private const uint BrokerKind = 4;

    private ConfigResource(uint kind, string name)
    {
        Kind = kind;
        Name = name;
    }

    /// <summary>The topic's name, or the broker's id; empty for all brokers.</summary>
    public string Name { get; }

    internal uint Kind { get; }

    /// <summary>A topic's.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The resource.</returns>
    public static ConfigResource Topic(string name) => new(TopicKind, name);

    /// <summary>A broker's.</summary>
    /// <param name="id">Its id; null for what all brokers have.</param>
    /// <returns>The resource.</returns>
    public static ConfigResource Broker(int? id) =>
        new(BrokerKind, id?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "");
}

/// <summary>One key of a configuration.</summary>
/// <param name="Name">The key.</param>
/// <param name="Value">Its value; null where it is sensitive, or there is none.</param>
/// <param name="Source">Where the value comes from.</param>
/// <param name="IsReadOnly">Whether it cannot be changed while the broker runs.</param>
/// <param name="IsSensitive">Whether the broker does not show the value.</param>
public sealed record ConfigEntry(string Name, string? Value, ConfigSource Source, bool IsReadOnly, bool IsSensitive);

/// <summary>Where a value of a configuration comes from, as Kafka numbers it.</summary>
public enum ConfigSource
{
    /// <summary>The broker does not tell.</summary>
    Unknown = 0,

    /// <summary>It was set of the topic.</summary>
    Topic = 1,

    /// <summary>It was set of the broker while it ran.</summary>
    DynamicBroker = 2,

    /// <summary>It was set of all brokers while they ran.</summary>
    DynamicDefaultBroker = 3,

    /// <summary>The broker's file.</summary>
    StaticBroker = 4,

    /// <summary>Nobody has set it.</summary>
    Default = 5,

    /// <summary>The broker's loggers.</summary>
    DynamicBrokerLogger = 6,
}

/// <summary>A group, in short.</summary>
/// <param name="GroupId">Its name.</param>
/// <param name="State">What it is doing, as Kafka names it (<c>Stable</c>); empty where the broker does not tell.</param>
/// <param name="GroupType">Which protocol its members speak (<c>classic</c>, <c>consumer</c>); empty where the broker does not tell.</param>
/// <param name="ProtocolType">What it is for (<c>consumer</c>).</param>
public sealed record GroupListing(string GroupId, string State, string GroupType, string ProtocolType);

/// <summary>A group with its members.</summary>
/// <param name="GroupId">Its name.</param>
/// <param name="State">What it is doing, as Kafka names it (<c>Stable</c>).</param>
/// <param name="GroupType">Which protocol its members speak (<c>classic</c>, <c>consumer</c>).</param>
/// <param name="ProtocolType">What it is for (<c>consumer</c>).</param>
/// <param name="Assignor">The assignor in use.</param>
/// <param name="Coordinator">The broker that keeps it; null where it is not known.</param>
/// <param name="Members">Its members.</param>
public sealed record GroupDescription(
    string GroupId,
    string State,
    string GroupType,
    string ProtocolType,
    string Assignor,
    int? Coordinator,
    IReadOnlyList<MemberDescription> Members);

/// <summary>A member of a group.</summary>
/// <param name="MemberId">Its id.</param>
/// <param name="InstanceId">The name of a static member; null for others.</param>
/// <param name="ClientId">What its program calls itself.</param>
/// <param name="Host">The address that it connects from.</param>
/// <param name="Assignment">The partitions that it has.</param>
public sealed record MemberDescription(
    string MemberId,
    string? InstanceId,
    string ClientId,
    string Host,
    IReadOnlyList<TopicPartition> Assignment);

/// <summary>A broker.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Host">Name or address to connect to.</param>
/// <param name="Port">Its port.</param>
/// <param name="Rack">Its rack; null where it has none.</param>
public sealed record BrokerDescription(int Id, string Host, int Port, string? Rack);

/// <summary>A cluster.</summary>
/// <param name="ClusterId">Its id.</param>
/// <param name="Controller">The id of the controller; null where there is none.</param>
/// <param name="Brokers">Its brokers, by id.</param>
public sealed record ClusterDescription(string ClusterId, int? Controller, IReadOnlyList<BrokerDescription> Brokers);

/// <summary>Some of several things that were asked for together have failed; the others were done.</summary>
public sealed class PartialFailureException : OttlaException
{
    internal PartialFailureException(OttlaException first, IReadOnlyDictionary<string, OttlaException> failures, int asked)
        : base(first.Error, $"{failures.Count} of {asked} have failed; the first: {first.Message}", first)
    {
        Failures = failures;
    }

    /// <summary>Why each failed, by the name of the topic, group or partition.</summary>
    public IReadOnlyDictionary<string, OttlaException> Failures { get; }
}
