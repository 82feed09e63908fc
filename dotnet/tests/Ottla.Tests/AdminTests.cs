using System.Collections.Generic;
using System.Linq;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

public sealed class AdminTests
{
    [Test]
    public async Task TopicsAreLookedAfter()
    {
        var topic = Broker.Name("topic");
        using var admin = new AdminClient(Broker.Address);
        await admin.CreateTopicsAsync(new[] { new NewTopic(topic, 2) { Config = { ["retention.ms"] = "1234567" } } });
        Assert.That((await admin.ListTopicsAsync()).Select(listed => listed.Name), Does.Contain(topic));
        var described = (await admin.DescribeTopicsAsync(new[] { topic }))[topic];
        Assert.That(described.Partitions.Select(partition => partition.Partition), Is.EqualTo(new[] { 0, 1 }));
        Assert.That(described.Partitions[0].Replicas, Has.Count.EqualTo(1));
        Assert.That(described.Partitions[0].Leader, Is.EqualTo(described.Partitions[0].InSync[0]));
        Assert.That(described.Id, Is.Not.EqualTo(System.Guid.Empty));
        await admin.CreatePartitionsAsync(topic, 3);
        Assert.That((await admin.DescribeTopicsAsync(new[] { topic }))[topic].Partitions, Has.Count.EqualTo(3));
        await admin.DeleteTopicsAsync(new[] { topic });
        Assert.That((await admin.ListTopicsAsync()).Select(listed => listed.Name), Does.Not.Contain(topic));
    }

    [Test]
    public async Task OneFailureIsItselfAndOneOfSeveralIsNamed()
    {
        var topic = await Broker.TopicAsync();
        using var admin = new AdminClient(Broker.Address);
        Assert.ThrowsAsync<Errors.TopicAlreadyExistsException>(() => admin.CreateTopicsAsync(new[] { new NewTopic(topic) }));
        var other = Broker.Name("topic");
        var failure = Assert.ThrowsAsync<PartialFailureException>(
            () => admin.CreateTopicsAsync(new[] { new NewTopic(topic), new NewTopic(other, 1) }))!;
        Assert.That(failure.Failures.Keys, Is.EqualTo(new[] { topic }));
        Assert.That(failure.Failures[topic].Error, Is.EqualTo(ErrorCode.TopicAlreadyExists));
        Assert.That(await admin.DescribeTopicsAsync(new[] { other }), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task ConfigurationsAreReadAndChanged()
    {
        var topic = await Broker.TopicAsync();
        using var admin = new AdminClient(Broker.Address);
        var resource = ConfigResource.Topic(topic);
        await admin.AlterConfigAsync(resource, new Dictionary<string, string?> { ["retention.ms"] = "5000" });
        var entry = (await admin.DescribeConfigAsync(resource))["retention.ms"];
        Assert.That((entry.Value, entry.Source), Is.EqualTo(("5000", ConfigSource.Topic)));
        await admin.AlterConfigAsync(resource, new Dictionary<string, string?> { ["retention.ms"] = null });
        Assert.That((await admin.DescribeConfigAsync(resource))["retention.ms"].Value, Is.Not.EqualTo("5000"));
    }

    [Test]
    public async Task GroupsAndTheirOffsetsAreLookedAfter()
    {
        var topic = await Broker.TopicAsync();
        var group = Broker.Name("group");
        var partition = new TopicPartition(topic, 0);
        using var admin = new AdminClient(Broker.Address);
        await admin.AlterGroupOffsetsAsync(group, new Dictionary<TopicPartition, OffsetAndMetadata> { [partition] = new(7, "why") });
        var offset = (await admin.GetGroupOffsetsAsync(group))[partition];
        Assert.That((offset.Offset, offset.Metadata), Is.EqualTo((7L, "why")));
        Assert.That((await admin.ListGroupsAsync()).Select(listed => listed.GroupId), Does.Contain(group));
        Assert.That((await admin.DescribeGroupsAsync(new[] { group }))[group].Members, Is.Empty);
        await admin.DeleteGroupOffsetsAsync(group, new[] { partition });
        Assert.That(await admin.GetGroupOffsetsAsync(group), Is.Empty);
        await admin.AlterGroupOffsetsAsync(group, new Dictionary<TopicPartition, OffsetAndMetadata> { [partition] = new(1) });
        await admin.DeleteGroupsAsync(new[] { group });
        Assert.ThrowsAsync<Errors.GroupIdNotFoundException>(() => admin.DeleteGroupsAsync(new[] { group }));
    }

    [Test]
    public async Task OffsetsAndTheClusterAreToldOf()
    {
        var topic = await Broker.TopicAsync();
        await Broker.FillAsync(topic, 4);
        var partition = new TopicPartition(topic, 0);
        using var admin = new AdminClient(Broker.Address);
        Assert.That((await admin.ListOffsetsAsync(new[] { partition }, OffsetSpec.Latest))[partition].Offset, Is.EqualTo(4));
        Assert.That((await admin.ListOffsetsAsync(new[] { partition }, OffsetSpec.Earliest))[partition].Offset, Is.EqualTo(0));
        var cluster = await admin.DescribeClusterAsync();
        Assert.That(cluster.Brokers.Select(broker => $"{broker.Host}:{broker.Port}"), Is.EqualTo(new[] { Broker.Address }));
        Assert.That(cluster.ClusterId, Is.Not.Empty);
    }
}
