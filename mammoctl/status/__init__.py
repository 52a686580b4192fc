"""The state of a cluster at one moment, asked of every node at once."""
