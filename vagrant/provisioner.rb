# frozen_string_literal: true

module Mammoctl
  # Told in Vagrant's own way: a message, and no traceback.
  class ProvisionFailed < Vagrant::Errors::VagrantError
    attr_reader :error_message

    def initialize(message)
      @error_message = message
      super()
    end
  end

  # Provisions the whole cluster at once, as mammoctl does it on any other hosts, and verifies it. It belongs to the last
  # machine, because the others are up by then.
  class Provisioner < Vagrant.plugin('2', :provisioner)
    VERBS = [%w[provision --yes], %w[verify]].freeze

    def provision
      cluster = config.cluster
      machines = running(cluster)
      cluster.write_inventory(machines.transform_values { |vm| host_keys(vm) },
                              machines.transform_values { |vm| vm.ssh_info[:private_key_path].first })
      VERBS.each { |verb| run(cluster, verb) }
    end

    private

    def running(cluster)
      machines = cluster.addresses.keys.to_h do |name|
        [name, machine.env.machine(name.to_sym, machine.provider_name)]
      end
      down = machines.reject { |_name, vm| vm.communicate.ready? }.keys
      return machines if down.empty?

      raise ProvisionFailed, "not reached: #{down.join(', ')}\nhint: vagrant up #{down.join(' ')}; then vagrant provision"
    end

    # Vagrant's own connection goes through a network that exists on this computer only; mammoctl's
    # connections, the first one included, accept these keys and no others.
    def host_keys(vm)
      lines = []
      vm.communicate.execute('cat /etc/ssh/ssh_host_*_key.pub') do |stream, data|
        lines << data if stream == :stdout
      end
      lines.join.lines
    end

    def run(cluster, verb)
      argv = [cluster.mammoctl, *verb, '-i', cluster.inventory]
      done = Vagrant::Util::Env.with_clean_env { system(*argv) }
      return if done

      said = done.nil? ? 'could not be started; run scripts/bootstrap run first' : "ended with status #{$?.exitstatus}"
      raise ProvisionFailed, "#{argv.join(' ')}: #{said}\nhint: mend what the message above says; then vagrant provision"
    end
  end

  # What the Vagrantfile hands to the provisioner.
  class ProvisionerConfig < Vagrant.plugin('2', :config)
    attr_accessor :cluster
  end

  # Makes `machine.vm.provision :mammoctl` known.
  class Plugin < Vagrant.plugin('2')
    name 'mammoctl'
    provisioner(:mammoctl) { Provisioner }
    config(:mammoctl, :provisioner) { ProvisionerConfig }
  end
end
