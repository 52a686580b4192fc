# frozen_string_literal: true

require 'fileutils'
require 'rbconfig'
require 'yaml'

module Mammoctl
  # The cluster that the Vagrantfile describes: its settings, taken from the environment, and the
  # inventory that mammoctl needs to reach it. Knows nothing of Vagrant, so that it can be tested alone.
  class Cluster
    PREFIX = 'MAMMOCTL_VAGRANT_'
    SUBNET = /\A(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){2}(?:25[0-5]|2[0-4]\d|1?\d?\d)\z/
    NAME = /\A[a-z][a-z0-9-]{0,30}\z/
    MAX_NODES = 30
    FIRST_ADDRESS = 11

    attr_reader :name, :nodes, :box, :memory_mb, :master_memory_mb, :cpus, :disk_gb, :subnet

    # Reads the settings from +environment+; relative paths are below +root+, the project's folder.
    # Raises ArgumentError that names the variable and what it may be.
    def initialize(root, environment = ENV)
      @root = root
      @environment = environment
      @name = text('NAME', 'vagrant', NAME, 'lower-case letters, digits and hyphens')
      @nodes = number('NODES', 3, 1..MAX_NODES)
      @box = setting('BOX', nil)
      @memory_mb = number('MEMORY_MB', 4096, 1024..1_048_576)
      @master_memory_mb = number('MASTER_MEMORY_MB', [@memory_mb, 6144].max, 1024..1_048_576)
      @cpus = number('CPUS', 2, 1..256)
      @disk_gb = number('DISK_GB', 32, 12..4096)
      @subnet = text('SUBNET', '192.168.56', SUBNET, 'the first three numbers of a /24')
      @emulation = text('EMULATION', '0', /\A[01]\z/, '0 or 1') == '1'
      @vars_file = setting('VARS', nil)
    end

    # Whether the processor is emulated in software: for machines without KVM, ten times slower.
    def emulation?
      @emulation
    end

    def self.arm64?(cpu = RbConfig::CONFIG['host_cpu'])
      cpu.match?(/\A(arm64|aarch64)/)
    end

    # Name of each machine => its address in the private network; the first one is the master.
    def addresses
      (1..nodes).to_h { |n| ["mammo#{n}", "#{subnet}.#{FIRST_ADDRESS + n - 1}"] }
    end

    def master?(machine)
      machine == addresses.keys.first
    end

    def memory_of(machine)
      master?(machine) ? master_memory_mb : memory_mb
    end

    # The folder of the inventory.
    def inventory
      File.join(@root, 'inventory', name)
    end

    # The checkout's own mammoctl, else the one on PATH.
    def mammoctl
      own = File.join(@root, '.venv', 'bin', 'mammoctl')
      File.executable?(own) ? own : 'mammoctl'
    end

    # Writes hosts.yml and known_hosts. +host_keys+ and +identities+: name of each machine => lines of
    # its public host keys, and => path of the private key that it lets in.
    def write_inventory(host_keys, identities)
      FileUtils.mkdir_p(inventory, mode: 0o700)
      replace('known_hosts', known_hosts(host_keys))
      replace('hosts.yml', YAML.dump(hosts(identities)))
    end

    # The inventory with the secrets of the cluster; nothing else of the project is touched.
    def remove_inventory
      FileUtils.rm_rf(inventory)
    end

    # The text of known_hosts: each key under the address that SSH connects to.
    def known_hosts(host_keys)
      lines = addresses.flat_map do |machine, address|
        keys = host_keys.fetch(machine).map { |line| line.split.first(2) }
        keys = keys.select { |type, key| type.to_s.match?(/\A(ssh|ecdsa)-/) && key }
        raise ArgumentError, "#{machine} told no host key" if keys.empty?

        keys.map { |type, key| "#{address} #{type} #{key}\n" }
      end
      lines.join
    end

    # The inventory as Ansible reads it.
    def hosts(identities)
      described = addresses.to_h do |machine, address|
        [machine, { 'ansible_host' => address,
                    'ansible_ssh_private_key_file' => identities.fetch(machine).to_s }]
      end
      names = described.transform_values { nil }
      { 'all' => {
        'vars' => variables,
        'hosts' => described,
        'children' => {
          'spark_master' => { 'hosts' => names.first(1).to_h },
          'spark_workers' => { 'hosts' => names.dup }
        }
      } }
    end

    private

    def variables
      own = { 'ansible_user' => 'vagrant', 'ansible_become' => true, 'mammoctl_cluster' => name }
      return own unless @vars_file

      path = File.expand_path(@vars_file, @root)
      raise ArgumentError, "#{PREFIX}VARS: there is no file #{path}" unless File.file?(path)

      given = YAML.safe_load(File.read(path))
      raise ArgumentError, "#{PREFIX}VARS: #{path} is no mapping of variables" unless given.is_a?(Hash)

      own.merge(given)
    end

    def replace(file, text)
      path = File.join(inventory, file)
      File.write("#{path}.new", text)
      File.rename("#{path}.new", path)
    end

    def setting(key, default)
      value = @environment["#{PREFIX}#{key}"].to_s.strip
      value.empty? ? default : value
    end

    def number(key, default, range)
      value = Integer(setting(key, default.to_s), 10, exception: false)
      return value if value && range.cover?(value)

      raise ArgumentError, "#{PREFIX}#{key}: #{setting(key, nil)} is no number between #{range.min} and #{range.max}"
    end

    def text(key, default, pattern, meaning)
      value = setting(key, default)
      return value if value.match?(pattern)

      raise ArgumentError, "#{PREFIX}#{key}: #{value} is not #{meaning}"
    end
  end
end
