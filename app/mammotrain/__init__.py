"""Train a mammogram classifier on Spark: frozen backbone features, a small head, honest numbers."""

__version__ = "0.1.0"
