"""mammoctl: bare Debian or Ubuntu hosts to a verified Spark and TensorFlow cluster."""

__version__ = "0.1.0"
