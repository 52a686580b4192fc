"""What surrounds whatever drives Spark on the master: its environment, and what it may touch."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from mammoctl.cluster import ClusterFile


def environment(deployment: ClusterFile, home: str) -> dict[str, str]:
    """Return the environment that a driver needs to find Java, Spark, HDFS and Python.

    Args:
        deployment: the cluster.
        home: folder that is its home on the master.
    """
    return {
        "HADOOP_CONF_DIR": "/etc/hadoop",
        "HOME": home,
        "JAVA_HOME": deployment.java_home,
        "LANG": "C.UTF-8",
        "PYSPARK_DRIVER_PYTHON": deployment.python,
        "PYSPARK_PYTHON": deployment.python,
        "PYTHONUNBUFFERED": "1",
        "SPARK_CONF_DIR": "/etc/spark",
        "SPARK_HOME": deployment.spark_home,
    }


def sandbox(deployment: ClusterFile, folder: str, scratch: str) -> dict[str, str]:
    """Return the properties of systemd that keep a driver to its own folder and to its share.

    Args:
        deployment: the cluster.
        folder: its own.
        scratch: where Spark's scratch files lie.
    """
    writable: Sequence[str] = [folder, f"-{scratch}", *_local_storage(deployment)]
    return {
        # the driver shares the master with services that must outlive it
        "MemoryMax": "75%",
        "OOMScoreAdjust": "500",
        "UMask": "0027",
        # no PrivateDevices, no ProtectClock: both keep programs from GPUs (systemd's issue 18142)
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "ProtectHome": "yes",
        "ProtectSystem": "strict",
        "ProtectControlGroups": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        "CapabilityBoundingSet": "",
        "ProtectHostname": "yes",
        "ProtectKernelLogs": "yes",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces": "yes",
        "RestrictRealtime": "yes",
        "SystemCallArchitectures": "native",
        "ReadWritePaths": " ".join(writable),
    }


def _local_storage(deployment: ClusterFile) -> list[str]:
    """Return the storage's folder where the driver writes to it as to any other folder."""
    parts = urlsplit(deployment.storage.uri)
    return [] if deployment.storage.kind == "hdfs" else [f"-{parts.path}"]
