# frozen_string_literal: true

require_relative "helper"

class ConsumerTest < Minitest::Test
  include Shared

  def test_a_loop_commits_what_it_has_gone_past
    topic = filled("loop", 10)
    group = named("group")
    consumer(group: group, topics: [topic]) do |consumer|
      consumer.each { |record| break if record.offset == 3 }
    end
    assert_equal 4, committed(group, topic)
  end

  def test_a_record_whose_block_raised_is_not_done
    topic = filled("raised", 10)
    group = named("group")
    assert_raises(ZeroDivisionError) do
      consumer(group: group, topics: [topic]) do |consumer|
        consumer.each { |record| 1 / 0 if record.offset == 3 }
      end
    end
    assert_equal 3, committed(group, topic)
    consumer(group: group, topics: [topic]) { |consumer| assert_equal "3", consumer.poll(30).value }
  end

  def test_a_batch_whose_block_raised_is_not_done
    topic = filled("raised-batch", 10)
    group = named("group")
    assert_raises(ZeroDivisionError) do
      consumer(group: group, topics: [topic]) { |consumer| consumer.each_batch { 1 / 0 } }
    end
    consumer(group: group, topics: [topic]) { |consumer| assert_equal "0", consumer.poll(30).value }
  end

  def test_commits_are_of_records_batches_and_offsets
    topic = filled("commits", 10)
    at = Ottla::TopicPartition.new(topic, 0)
    consumer(group: named("group"), topics: [topic], enable_auto_commit: false) do |consumer|
      committed = -> { consumer.committed([at])[at].offset }
      consumer.commit(consumer.poll(30))
      assert_equal 1, committed.call
      consumer.poll(30)
      consumer.commit
      assert_equal 2, committed.call
      batch = consumer.next_batch(timeout: 30)
      assert_equal (2..9).to_a, batch.offsets
      consumer.commit(batch)
      assert_equal 10, committed.call
      consumer.commit({ at => Ottla::OffsetAndMetadata.new(5, "half") })
      assert_equal "half", consumer.committed([at])[at].metadata
      assert_raises(TypeError) { consumer.commit(5) }
    end
  end

  def test_a_batch_is_a_sequence_with_columns_and_outlives_its_consumer
    topic = filled("batch", 5)
    batch = consumer do |consumer|
      consumer.assign({ [topic, 0] => 1 })
      consumer.next_batch(timeout: 30).tap { assert_nil consumer.next_batch(timeout: 0.05) }
    end
    kept = batch.first
    GC.start
    assert_equal [%w[1 2 3 4], [nil] * 4, [1, 2, 3, 4]], [batch.values, batch.keys, batch.offsets]
    assert_equal [4, 5, 5, "1", "4", nil], [batch.size, batch.next_offset, batch.high_watermark, batch[0].value, batch[-1].value, batch[4]]
    batch = nil
    GC.start
    assert_equal ["1", []], [kept.value, kept.headers]
  end

  def test_reading_goes_on_where_it_is_sought
    topic = filled("sought", 10)
    at = [topic, 0]
    consumer do |consumer|
      consumer.assign([at])
      assert_equal "0", consumer.poll(30).value
      assert_equal 1, consumer.position(at)
      consumer.seek(at, 7)
      assert_equal "7", consumer.poll(30).value
      consumer.seek(at, :earliest)
      assert_equal "0", consumer.poll(30).value
      consumer.seek(at, :latest)
      assert_nil consumer.poll(0.2)
      assert_equal({ Ottla::TopicPartition.new(*at) => 10 }, consumer.end_offsets([at]))
      assert_equal({ Ottla::TopicPartition.new(*at) => 0 }, consumer.offsets_for_times(at => Time.at(0)))
      assert_raises(ArgumentError) { consumer.seek(at, "somewhere") }
    end
  end

  def test_a_partition_that_is_held_gives_nothing
    topic = filled("held", 3)
    consumer do |consumer|
      consumer.assign([[topic, 0]])
      consumer.pause([[topic, 0]])
      assert_equal [Ottla::TopicPartition.new(topic, 0)], consumer.paused
      assert_nil consumer.poll(0.2)
      consumer.resume([[topic, 0]])
      assert_equal "0", consumer.poll(30).value
    end
  end

  def test_rebalances_are_told_where_records_are_asked_for
    topic = filled("rebalances", 1)
    told = []
    tell = ->(kind) { ->(_, partitions) { told << [kind, partitions.map(&:to_s), Thread.current] } }
    consumer(group: named("group"), topics: [topic], on_assigned: tell[:assigned], on_revoked: tell[:revoked]) do |consumer|
      assert_equal "0", consumer.poll(30).value
    end
    assert_equal [[:assigned, ["#{topic}-0"], Thread.current], [:revoked, ["#{topic}-0"], Thread.current]], told
  end

  def test_another_thread_ends_a_wait_and_a_loop
    topic = filled("quiet", 1)
    consumer = Ottla::Consumer.new(bootstrap_servers: servers)
    consumer.assign({ [topic, 0] => 1 })
    waiting = Thread.new { consumer.poll }
    Thread.pass until waiting.status == "sleep"
    consumer.wake
    assert_nil waiting.value
    looping = Thread.new { consumer.each { flunk }.class }
    Thread.pass until looping.status == "sleep"
    consumer.close
    assert_equal Ottla::Consumer, looping.value
    assert_raises(Ottla::ClosedError) { consumer.poll(1) }
  end

  def test_two_members_share_the_partitions
    topic = named("shared")
    Ottla::Admin.open(bootstrap_servers: servers) { |admin| admin.create_topics([Ottla::NewTopic.new(topic, partitions: 2)]) }
    producer { |producer| 2.times { |partition| producer.send(topic, partition.to_s, partition: partition).wait(30) } }
    members = Array.new(2) { Ottla::Consumer.new(bootstrap_servers: servers, group: named("group"), topics: [topic], start: "earliest") }
    values = members.map { |member| Thread.new { member.poll(30).value } }.map(&:value)
    # The first may have read both before the second came; then nothing is left for that.
    assert_includes [%w[0 1], %w[0 0], %w[1 1]], values.sort
  ensure
    members&.each(&:close)
  end

  def test_a_thousand_are_opened_and_closed
    count = Integer(ENV.fetch("OTTLA_TEST_CYCLES", "1000"))
    topic = filled("cycles", 1)
    descriptors = -> { Dir.children("/proc/self/fd").size }
    before = nil
    count.times do |cycle|
      Ottla::Consumer.open(bootstrap_servers: servers, start: "earliest") do |consumer|
        consumer.assign([[topic, 0]])
        assert_equal "0", consumer.poll(30).value if (cycle % 50).zero?
      end
      producer { |producer| producer.send(topic, "v") if (cycle % 50).zero? }
      before ||= descriptors.call if cycle == 20
    end
    assert_in_delta before, descriptors.call, 50 if before
  end

  def test_those_that_are_forgotten_leak_nothing
    topic = filled("forgotten", 1)
    200.times do
      forgotten = Ottla::Consumer.new(bootstrap_servers: servers, start: "earliest")
      forgotten.assign([[topic, 0]])
    end
    GC.start
    assert_operator Dir.children("/proc/self/fd").size, :<, 400
  end

  def test_what_makes_no_sense_is_refused
    consumer do |consumer|
      assert_raises(TypeError) { consumer.subscribe("orders") }
      assert_match(/group\.id/, assert_raises(Ottla::ConfigError) { consumer.subscribe([named("no-group")]) }.message)
      assert_match(/orders-0/, assert_raises(Ottla::InvalidArgError) { consumer.seek(["orders", 0], 0) }.message)
    end
  end

  private

  def committed(group, topic)
    at = Ottla::TopicPartition.new(topic, 0)
    Ottla::Consumer.open(bootstrap_servers: servers, group: group) { |consumer| consumer.committed([at])[at].offset }
  end
end
