<?php

declare(strict_types=1);

namespace Ottla\Tests;

use Ottla\Admin;
use Ottla\Exception\ClosedException;
use Ottla\Exception\TopicAlreadyExistsException;
use Ottla\NewTopic;
use Ottla\TopicPartitionOffset;

final class AdminTest extends TestCase
{
    public function testTopicsAreMadeDescribedChangedAndDeleted(): void
    {
        $admin = new Admin($this->servers());
        $topic = $this->name('topic');
        $admin->createTopics([new NewTopic($topic, partitions: 2, config: ['retention.ms' => 60_000])]);
        $error = $this->thrown(TopicAlreadyExistsException::class, fn () => $admin->createTopics([$topic]));
        $this->same([36, 'TOPIC_ALREADY_EXISTS'], [$error->getCode(), $error->name]);
        $this->holds(in_array($topic, $admin->listTopics(), true), 'the topic is listed');
        $admin->createPartitions([$topic => 3]);
        $this->same([0, 1, 2], array_column($admin->describeTopics([$topic])[$topic]->partitions, 'partition'));
        $this->same('60000', $admin->topicConfig($topic)['retention.ms']->value);
        $admin->alterTopicConfig($topic, ['retention.ms' => null]);
        $this->holds($admin->topicConfig($topic)['retention.ms']->value !== '60000', 'the value was taken back');
        $admin->deleteTopics([$topic]);
        $this->holds(!in_array($topic, $admin->listTopics(), true), 'the topic is gone');
    }

    public function testOfSeveralThoseThatFailedAreTold(): void
    {
        $admin = new Admin($this->servers());
        [$there, $new] = [$this->name('there'), $this->name('new')];
        $admin->createTopics([$there]);
        $told = $admin->createTopics([$there, $new], returnErrors: true);
        $this->holds($told[$there] instanceof TopicAlreadyExistsException, 'one exists');
        $this->same([true, null], [array_key_exists($new, $told), $told[$new]]);
    }

    public function testGroupsAndTheirOffsets(): void
    {
        $admin = new Admin($this->servers());
        $at = $this->filled('offsets', 3);
        $group = $this->name('group');
        $consumer = $this->consumer(group: $group, topics: [$at->topic]);
        $consumer->poll(30);
        $described = $admin->describeGroups([$group])[$group];
        $this->same([1, [(string) $at]], [count($described->members), array_map('strval', $described->members[0]->assignment)]);
        $consumer->close();
        $this->holds(in_array($group, array_column($admin->listGroups(), 'groupId'), true), 'the group is listed');
        $this->same(1, $admin->groupOffsets($group)[(string) $at]->offset);
        $admin->alterGroupOffsets($group, [new TopicPartitionOffset($at->topic, 0, 2)]);
        $this->same(2, $admin->groupOffsets($group)[(string) $at]->offset);
        $this->same([(string) $at => 3], $admin->listOffsets([$at], 'latest'));
        $admin->deleteGroupOffsets($group, [$at]);
        $this->same([], $admin->groupOffsets($group));
        $admin->deleteGroups([$group]);
        $this->holds(!in_array($group, array_column($admin->listGroups(), 'groupId'), true), 'the group is gone');
    }

    public function testTheClusterIsDescribed(): void
    {
        $admin = new Admin($this->servers());
        $cluster = $admin->describeCluster();
        $this->same($cluster->controller, $cluster->brokers[0]->id);
        $this->same($this->servers(), "{$cluster->brokers[0]->host}:{$cluster->brokers[0]->port}");
        $this->holds(count($admin->brokerConfig($cluster->brokers[0]->id)) > 0, 'a broker has a configuration');
        $admin->close();
        $this->thrown(ClosedException::class, fn () => $admin->listTopics());
    }
}
