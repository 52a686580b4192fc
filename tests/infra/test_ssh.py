"""Role ssh: the master reaches every worker without a prompt, and checks whom it reaches."""

from infra_support import expect

USER, KEY = "mammoctl", "/var/lib/mammoctl/home/.ssh/id_ed25519"


def test_key(master):
    """The cluster's private key is readable by its user only."""
    master.expect_file(KEY, 0o600, USER, USER)


def test_reaches(master, worker):
    """The master logs in on the worker by key, with a pinned host key."""
    done = master.host.run(
        f"runuser -u {USER} -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes "
        "-o ConnectTimeout=10 %s hostname",
        worker.name,
    )
    said = done.stderr.strip().splitlines()
    expect(
        done.rc == 0,
        f"{USER}@{master.name} cannot log in on {worker.name}: {said[-1] if said else done.rc}",
        "run `mammoctl provision --tags ssh`; a changed host key is pinned anew by it",
    )
    expect(
        done.stdout.strip() == worker.state["hostname"],
        f"{worker.name} leads to a host that calls itself {done.stdout.strip()}",
        "correct the addresses in the inventory",
    )
