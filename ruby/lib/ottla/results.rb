# frozen_string_literal: true

module Ottla
  # What calls give, as Ruby's own.
  # @private
  module Results
    module_function

    def partition(row)
      TopicPartition.new(Native.text(row[:topic]), row[:partition])
    end

    # Offsets by partition.
    def offsets(result)
      Native.rows(Native::TopicPartition, result, :ottla_result_partitions).to_h do |row|
        epoch = row[:leader_epoch]
        committed = OffsetAndMetadata.new(row[:offset], Native.text(row[:metadata]) || "", epoch.negative? ? nil : epoch)
        [partition(row), committed]
      end
    end

    # What became of each thing: the first that failed is raised, unless errors are asked for, which stand in the place of what is given.
    # @return [Hash] by name, or by partition
    def outcomes(result, return_errors, given = {})
      Native.rows(Native::Outcome, result, :ottla_result_outcomes).to_h do |row|
        name = Native.text(row[:name])
        key = row[:partition].negative? ? name : TopicPartition.new(name, row[:partition])
        next [key, given[key]] if row[:status].zero?

        error = row[:error].null? ? Error.of(row[:status]) : Error.read(row[:error])
        raise error unless return_errors

        [key, error]
      end
    end

    def topics(result)
      Native.rows(Native::TopicInfo, result, :ottla_result_topics).to_h do |row|
        name = Native.text(row[:name])
        id = row[:id].to_a.pack("C*").unpack1("H*").sub(/(.{8})(.{4})(.{4})(.{4})/, '\1-\2-\3-\4-')
        [name, TopicDescription.new(name, id, row[:is_internal], partitions(row))]
      end
    end

    def partitions(topic)
      return [] if topic[:partitions].null?

      Array.new(topic[:partition_count]) do |index|
        row = Native::PartitionInfo.new(topic[:partitions] + index * Native::PartitionInfo.size)
        leader = row[:leader]
        PartitionDescription.new(
          row[:partition],
          leader.negative? ? nil : leader,
          ids(row[:replicas], row[:replica_count]),
          ids(row[:in_sync], row[:in_sync_count])
        )
      end
    end

    def ids(first, count)
      count.zero? ? [] : first.read_array_of_int32(count)
    end

    def configs(result)
      Native.rows(Native::ConfigInfo, result, :ottla_result_configs).to_h do |row|
        entries = Array.new(row[:entry_count]) do |index|
          entry = Native::ConfigEntry.new(row[:entries] + index * Native::ConfigEntry.size)
          name = Native.text(entry[:name])
          [name, ConfigEntry.new(name, Native.text(entry[:value]), entry[:source], entry[:is_read_only], entry[:is_sensitive])]
        end
        [Native.text(row[:name]), entries.to_h]
      end
    end

    def group_listings(result)
      Native.rows(Native::GroupInfo, result, :ottla_result_groups).map do |row|
        state, type = %i[state group_type].map { |field| Native.text(row[field]).then { |text| text unless text.empty? } }
        GroupListing.new(Native.text(row[:group_id]), state, type, Native.text(row[:protocol_type]))
      end
    end

    def groups(result)
      Native.rows(Native::GroupInfo, result, :ottla_result_groups).to_h do |row|
        id, state, type, assignor = %i[group_id state group_type assignor].map { |field| Native.text(row[field]) }
        [id, GroupDescription.new(id, state, type, assignor, row[:coordinator], members(row))]
      end
    end

    def members(group)
      return [] if group[:members].null?

      Array.new(group[:member_count]) do |index|
        row = Native::MemberInfo.new(group[:members] + index * Native::MemberInfo.size)
        assignment = Array.new(row[:assignment_count]) do |number|
          partition(Native::TopicPartition.new(row[:assignment] + number * Native::TopicPartition.size))
        end
        GroupMember.new(*%i[member_id instance_id client_id host].map { |field| Native.text(row[field]) }, assignment)
      end
    end

    def cluster(result)
      brokers = Native.rows(Native::BrokerInfo, result, :ottla_result_brokers).map do |row|
        Broker.new(row[:id], Native.text(row[:host]), row[:port], Native.text(row[:rack]))
      end
      controller = Native.ottla_result_number(result)
      ClusterDescription.new(Native.text(Native.ottla_result_cluster_id(result)), controller.negative? ? nil : controller, brokers)
    end
  end
end
