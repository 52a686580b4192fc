"""Nodes that join a cluster and leave it."""
