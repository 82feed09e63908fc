# frozen_string_literal: true

require "ffi"
require "io/wait"
require "monitor"
require "socket"
require "timeout"

# A client of Apache Kafka and its kin, over libottla: Producer, Consumer and Admin.
module Ottla
  # The release; the library's own is `Ottla.library_version`.
  VERSION = "0.1.0"

  # The release of the library that is loaded.
  def self.library_version
    Native.ottla_version
  end
end

require_relative "ottla/native"
require_relative "ottla/error"
require_relative "ottla/types"
require_relative "ottla/results"
require_relative "ottla/tokens"
require_relative "ottla/client"
require_relative "ottla/producer"
require_relative "ottla/record_batch"
require_relative "ottla/consumer"
require_relative "ottla/admin"
