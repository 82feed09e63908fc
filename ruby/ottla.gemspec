# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "ottla"
  spec.version = File.read(File.join(__dir__, "lib/ottla.rb"))[/VERSION = "(.*)"/, 1]
  spec.summary = "A client of Apache Kafka and its kin, over libottla"
  spec.authors = ["The Ottla authors"]
  spec.license = "Apache-2.0"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir.chdir(__dir__) { Dir["lib/**/*", "README.md", "LICENSE"].select { |file| File.file?(file) } }
  spec.add_dependency "ffi", "~> 1.15"
end
