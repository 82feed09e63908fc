# frozen_string_literal: true

module Ottla
  # A partition of a topic. Where one is asked for, `["orders", 0]` is as good.
  TopicPartition = Struct.new(:topic, :partition) do
    def to_s
      "#{topic}-#{partition}"
    end
  end

  # An offset as a group has committed it: that of the next record to be read.
  OffsetAndMetadata = Struct.new(:offset, :metadata, :leader_epoch) do
    def initialize(offset, metadata = "", leader_epoch = nil)
      super
    end
  end

  # Where a record was written. The offset is nil where the broker did not tell, the timestamp is in milliseconds since the epoch.
  RecordMetadata = Struct.new(:topic, :partition, :offset, :timestamp)

  # A topic to be created; what is nil is left to the broker.
  NewTopic = Struct.new(:name, :partitions, :replication_factor, :config) do
    def initialize(name, partitions: nil, replication_factor: nil, config: {})
      super(name, partitions, replication_factor, config)
    end
  end

  # A partition of a topic, and where its replicas are, by the brokers' ids.
  PartitionDescription = Struct.new(:partition, :leader, :replicas, :in_sync)

  # A topic and its partitions.
  TopicDescription = Struct.new(:name, :id, :internal, :partitions)

  # A key of a configuration. The value of a sensitive one is nil; the source is a number of Kafka's: 1 for the topic, 5 for the default.
  ConfigEntry = Struct.new(:name, :value, :source, :read_only, :sensitive)

  # A group, as a list of all has it.
  GroupListing = Struct.new(:group_id, :state, :type, :protocol_type)

  # A member of a group.
  GroupMember = Struct.new(:member_id, :instance_id, :client_id, :host, :assignment)

  # A group and its members.
  GroupDescription = Struct.new(:group_id, :state, :type, :assignor, :coordinator, :members)

  # A broker of the cluster.
  Broker = Struct.new(:id, :host, :port, :rack)

  # The cluster and its brokers.
  ClusterDescription = Struct.new(:cluster_id, :controller, :brokers)
end
