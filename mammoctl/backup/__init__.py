"""What of a cluster cannot be made again: saved to one file, and put back from it."""
