"""What whoever helps needs to see of a cluster, in one archive without secrets."""
