"""From a list of machines to the inventory of a cluster."""
