# frozen_string_literal: true

module Ottla
  # Looks after topics, configurations, groups and offsets. Thread-safe. Of several things that are asked for together the first that fails
  # is raised; with `return_errors: true` errors stand among what is given.
  #
  #     Ottla::Admin.open(bootstrap_servers: "localhost:9092") { |admin| admin.create_topics([Ottla::NewTopic.new("orders")]) }
  class Admin
    # An admin client; with a block, one that is closed behind it.
    def self.open(...)
      admin = new(...)
      return admin unless block_given?

      begin
        yield admin
      ensure
        admin.close
      end
    end

    # @param config [Hash] Kafka's keys, as they are or in snake case; and `token_provider`, which gives tokens to log in with: what has
    #   `call` or `token`, for a String or a Token. It is asked on a thread of its own, when somebody waits for the client
    # @raise [ConfigError] a setting is wrong
    def initialize(config = {}, **settings)
      @client = Client.new(:admin, config.to_a + settings.to_a)
    end

    # Creates topics, given as NewTopic or by their names; or says whether they could be.
    # @param topics [Array<NewTopic, String>]
    def create_topics(topics, validate_only: false, return_errors: false)
      rows = Native::Rows.new(Native::NewTopic, topics) { |of, row, topic| new_topic(of, row, topic) }
      call = Native.ottla_admin_create_topics(@client.handle, rows.pointer, rows.count, validate_only)
      outcomes(call, return_errors)
    end

    # Deletes topics with all their records.
    # @param topics [Array<String>]
    def delete_topics(topics, return_errors: false)
      outcomes(named(:ottla_admin_delete_topics, topics), return_errors)
    end

    # Raises the numbers of partitions of topics.
    # @param totals [Hash{String => Integer}]
    def create_partitions(totals, validate_only: false, return_errors: false)
      totals.to_a.map do |topic, total|
        outcomes(Native.ottla_admin_create_partitions(@client.handle, topic, total, validate_only), return_errors)
      end.reduce({}, :merge)
    end

    # @param topics [Array<String>]
    # @return [Hash{String => TopicDescription}]
    def describe_topics(topics, return_errors: false)
      @client.call(named(:ottla_admin_describe_topics, topics)) do |result|
        Results.outcomes(result, return_errors, Results.topics(result))
      end
    end

    # The names of all topics.
    # @param internal [Boolean] those of Kafka's own, too
    # @return [Array<String>]
    def list_topics(internal: false)
      @client.call(Native.ottla_admin_list_topics(@client.handle)) do |result|
        Results.topics(result).values.filter_map { |topic| topic.name if internal || !topic.internal }
      end
    end

    # @return [Hash{String => ConfigEntry}] by key
    def topic_config(topic)
      config(Native::RESOURCE_TOPIC, topic)
    end

    # @return [Hash{String => ConfigEntry}] by key
    def broker_config(broker)
      config(Native::RESOURCE_BROKER, broker.to_s)
    end

    # Sets keys of a topic's configuration, or takes those back whose value is nil.
    # @param changes [Hash{String => Object}]
    def alter_topic_config(topic, changes, validate_only: false)
      rows = pairs(changes)
      call = Native.ottla_admin_alter_config(@client.handle, Native::RESOURCE_TOPIC, topic, rows.pointer, rows.count, validate_only)
      outcomes(call, false)
      nil
    end

    # @return [Array<GroupListing>]
    def list_groups
      @client.call(Native.ottla_admin_list_groups(@client.handle)) { |result| Results.group_listings(result) }
    end

    # @param groups [Array<String>]
    # @return [Hash{String => GroupDescription}]
    def describe_groups(groups, return_errors: false)
      @client.call(named(:ottla_admin_describe_groups, groups)) do |result|
        Results.outcomes(result, return_errors, Results.groups(result))
      end
    end

    # Deletes groups without members, with the offsets they have committed.
    # @param groups [Array<String>]
    def delete_groups(groups, return_errors: false)
      outcomes(named(:ottla_admin_delete_groups, groups), return_errors)
    end

    # All offsets that a group has committed.
    # @return [Hash{TopicPartition => OffsetAndMetadata}]
    def group_offsets(group)
      @client.call(Native.ottla_admin_group_offsets(@client.handle, group)) do |result|
        Results.outcomes(result, false)
        Results.offsets(result)
      end
    end

    # Commits offsets in the name of a group without members.
    # @param offsets [Hash{TopicPartition => Integer, OffsetAndMetadata}]
    def alter_group_offsets(group, offsets, return_errors: false)
      rows = Native.partitions(offsets)
      outcomes(Native.ottla_admin_alter_group_offsets(@client.handle, group, rows.pointer, rows.count), return_errors)
    end

    # Forgets offsets that a group has committed, of topics that no member of it reads.
    # @param partitions [Array<TopicPartition>]
    def delete_group_offsets(group, partitions, return_errors: false)
      rows = Native.partitions(partitions)
      outcomes(Native.ottla_admin_delete_group_offsets(@client.handle, group, rows.pointer, rows.count), return_errors)
    end

    # The offsets that are meant, of each partition.
    # @param partitions [Array<TopicPartition>]
    # @param place [Symbol, Time] `:earliest`, `:latest`, or the first record of that time
    # @return [Hash{TopicPartition => Integer}]
    def list_offsets(partitions, place, return_errors: false)
      rows = Native.partitions(partitions)
      _, spec = Consumer.place(["", 0], place)
      rows.count.times { |index| rows[index][:timestamp_ms] = Consumer.milliseconds(place) } if place.is_a?(Time)
      @client.call(Native.ottla_admin_list_offsets(@client.handle, spec, rows.pointer, rows.count)) do |result|
        Results.outcomes(result, return_errors, Results.offsets(result).transform_values(&:offset))
      end
    end

    # @return [ClusterDescription]
    def describe_cluster
      @client.call(Native.ottla_admin_describe_cluster(@client.handle)) { |result| Results.cluster(result) }
    end

    # Lets go of connections. Closing again does nothing.
    def close
      @client.close {} unless @client.freed?
    end

    private

    def outcomes(call, return_errors)
      @client.call(call) { |result| Results.outcomes(result, return_errors) }
    end

    def named(function, names)
      Native.names(names) { |array, count| Native.public_send(function, @client.handle, array, count) }
    end

    def config(kind, name)
      @client.call(Native.ottla_admin_describe_config(@client.handle, kind, name)) do |result|
        Results.outcomes(result, false, Results.configs(result)).fetch(name)
      end
    end

    def new_topic(rows, row, topic)
      topic = NewTopic.new(topic) if topic.is_a?(String)
      config = pairs(topic.config || {})
      rows.held(config)
      row[:size] = Native::NewTopic.size
      row[:partitions] = topic.partitions || -1
      row[:replication_factor] = topic.replication_factor || -1
      rows.text(row, :name, topic.name)
      row[:configs] = config.pointer
      row[:config_count] = config.count
    end

    def pairs(changes)
      Native::Rows.new(Native::Pair, changes.to_a) do |rows, row, (key, value)|
        rows.text(row, :name, key)
        rows.text(row, :value, value)
      end
    end
  end
end
