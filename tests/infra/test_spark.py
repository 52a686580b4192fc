"""Role spark: the services, who may read their secret, and what they do not open."""

from infra_support import ENV_PYTHON, expect, setting

DEFAULTS = "/etc/spark/spark-defaults.conf"


def settings(node):
    text = node.host.file(DEFAULTS).content_string
    lines = [line.split(None, 1) for line in text.splitlines()]
    return {line[0]: line[1].strip() for line in lines if len(line) == 2 and line[0][0] != "#"}


def test_master(master):
    """The master runs, also after a reboot."""
    master.expect_service("spark-master")


def test_worker(worker):
    """The worker runs, also after a reboot."""
    worker.expect_service("spark-worker")


def test_home(node):
    """SPARK_HOME is the engine inside the Python environment, or the tarball that was chosen."""
    home = node.record["spark_home"]
    real = node.text("readlink -f %s", home).strip()
    expect(
        ("/site-packages/pyspark" in real or real.startswith("/opt/mammoctl/spark/"))
        and node.host.file(f"{home}/bin/spark-submit").exists,
        f"{home} leads to {real}",
    )


def test_version(node):
    """Spark has the recorded version."""
    script = "import importlib.metadata; print(importlib.metadata.version('pyspark'))"
    found = node.text(f"{ENV_PYTHON} -c %s", script).strip()
    wanted = node.record["spark_version"]
    expect(found == wanted, f"Spark {found} instead of {wanted}")


def test_authenticated(node):
    """Everything that Spark's parts say to each other is authenticated and encrypted."""
    found = settings(node)
    for name in ("spark.authenticate", "spark.network.crypto.enabled"):
        expect(found.get(name) == "true", f"{name} is {found.get(name, 'not set')} in {DEFAULTS}")
    expect(
        found.get("spark.master.rest.enabled") == "false",
        "the REST server, which has no authentication, is not switched off",
    )


def test_secret(node):
    """The secret is readable by Spark only, and shows in no command line."""
    node.expect_file(DEFAULTS, 0o640, "root", setting(node, "spark_user"))
    secret = settings(node).get("spark.authenticate.secret", "")
    expect(len(secret) >= 32, "the secret is missing or short")
    shown = node.text("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true")
    expect(secret not in shown, "the secret shows in the command line of a process")


def test_same_secret(node, master):
    """Every node has the same secret."""
    name = "spark.authenticate.secret"
    expect(
        settings(node).get(name) == settings(master).get(name),
        f"the secret differs from that of {master.name}",
    )


def test_rest_closed(master):
    """Nothing listens on the port of Spark's REST server."""
    found = master.listeners(6066)
    expect(not found, "something listens on port 6066", "is spark.master.rest.enabled set?")


def test_login(node):
    """A person who logs in finds the commands, and these find the cluster."""
    script = "command -v spark-submit pyspark spark-shell && echo $SPARK_HOME $SPARK_CONF_DIR"
    said = node.text("env -i HOME=/tmp bash -lc %s", script).split()
    home = node.record["spark_home"]
    wanted = [f"{home}/bin/{name}" for name in ("spark-submit", "pyspark", "spark-shell")]
    expect(said == [*wanted, home, "/etc/spark"], f"a login finds {' '.join(said)}")


def test_user(node):
    """The services run as their own user, which cannot log in."""
    user = setting(node, "spark_user")
    shell = node.host.user(user).shell
    expect(shell.endswith(("nologin", "false")), f"user {user} logs in with {shell}")
