"""Role ssh: the master reaches every worker without a prompt, and checks whom it reaches."""

from infra_support import expect, setting


def test_key(master):
    """The cluster's private key is readable by its user only."""
    user = setting(master, "ssh_user")
    master.expect_file(f"{setting(master, 'ssh_home')}/.ssh/id_ed25519", 0o600, user, user)


def test_reaches(master, worker):
    """The master logs in on the worker by key, with a pinned host key."""
    user = setting(master, "ssh_user")
    done = master.host.run(
        f"runuser -u {user} -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes "
        "-o ConnectTimeout=10 %s hostname",
        worker.name,
    )
    said = done.stderr.strip().splitlines()
    expect(
        done.rc == 0,
        f"{user}@{master.name} cannot log in on {worker.name}: {said[-1] if said else done.rc}",
        "run `mammoctl provision --tags ssh`; a changed host key is pinned anew by it",
    )
    expect(
        done.stdout.strip() == worker.state["hostname"],
        f"{worker.name} leads to a host that calls itself {done.stdout.strip()}",
        "correct the addresses in the inventory",
    )
