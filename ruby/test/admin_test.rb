# frozen_string_literal: true

require_relative "helper"

class AdminTest < Minitest::Test
  include Shared

  def setup
    @admin = Ottla::Admin.new(bootstrap_servers: servers)
  end

  def teardown
    @admin.close
  end

  def test_topics_are_made_described_changed_and_deleted
    topic = named("topic")
    @admin.create_topics([Ottla::NewTopic.new(topic, partitions: 2, config: { "retention.ms" => 60_000 })])
    error = assert_raises(Ottla::TopicAlreadyExistsError) { @admin.create_topics([topic]) }
    assert_equal [36, "TOPIC_ALREADY_EXISTS"], [error.code, error.name]
    assert_includes @admin.list_topics, topic
    @admin.create_partitions({ topic => 3 })
    assert_equal [0, 1, 2], @admin.describe_topics([topic])[topic].partitions.map(&:partition)
    assert_equal "60000", @admin.topic_config(topic)["retention.ms"].value
    @admin.alter_topic_config(topic, { "retention.ms" => nil })
    refute_equal "60000", @admin.topic_config(topic)["retention.ms"].value
    @admin.delete_topics([topic])
    refute_includes @admin.list_topics, topic
  end

  def test_of_several_those_that_failed_are_told
    there = named("there")
    @admin.create_topics([there])
    told = @admin.create_topics([there, named("new")], return_errors: true)
    assert_instance_of Ottla::TopicAlreadyExistsError, told[there]
    assert_nil told.fetch(named("new"))
  end

  def test_groups_and_their_offsets
    topic = filled("offsets", 3)
    group = named("group")
    at = Ottla::TopicPartition.new(topic, 0)
    consumer(group: group, topics: [topic]) do |consumer|
      consumer.poll(30)
      described = @admin.describe_groups([group])[group]
      assert_equal [1, [at]], [described.members.size, described.members.flat_map(&:assignment)]
    end
    assert_includes @admin.list_groups.map(&:group_id), group
    assert_equal 1, @admin.group_offsets(group)[at].offset
    @admin.alter_group_offsets(group, { at => 2 })
    assert_equal 2, @admin.group_offsets(group)[at].offset
    assert_equal({ at => 3 }, @admin.list_offsets([at], :latest))
    @admin.delete_group_offsets(group, [at])
    assert_empty @admin.group_offsets(group)
    @admin.delete_groups([group])
    refute_includes @admin.list_groups.map(&:group_id), group
  end

  def test_the_cluster_is_described
    cluster = @admin.describe_cluster
    assert_equal cluster.controller, cluster.brokers.first.id
    assert_equal servers, "#{cluster.brokers.first.host}:#{cluster.brokers.first.port}"
    refute_empty @admin.broker_config(cluster.controller)
  end

  def test_what_is_closed_says_so
    @admin.close
    assert_raises(Ottla::ClosedError) { @admin.list_topics }
  end
end
