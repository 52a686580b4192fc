import http.server
import io
import json
import socket
import subprocess
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from mammoctl import become, lock
from mammoctl.errors import ConnectionFailed, RemoteError
from mammoctl.inventory import Host
from mammoctl.ssh import Nodes

pytestmark = pytest.mark.programs


@pytest.fixture
def nodes(cluster):
    with Nodes(cluster) as opened:
        yield opened


def test_run_keeps_the_streams_apart(nodes):
    result = nodes.run("node1", "echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.rc) == ("out\n", "err\n", 0)


def test_argv_is_quoted(nodes):
    assert nodes.run("node1", ["printf", "%s", "a b; $(false) 'c'"]).stdout == "a b; $(false) 'c'"


def test_programs_speak_english_whatever_the_logins_language_is(nodes, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert nodes.run("node1", "echo $LC_ALL ${LANGUAGE-none}").stdout == "C.UTF-8 none\n"


def test_input_arrives_whole(nodes):
    data = bytes(range(256)) * 4096
    assert nodes.run("node1", "wc -c", input=data).stdout.strip() == str(len(data))


def test_input_that_nobody_reads_does_not_hang(nodes):
    assert nodes.run("node1", "exit 0", input=b"x" * (4 << 20)).ok


def test_much_output_on_both_streams(nodes):
    line = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2"
    result = nodes.run("node1", line)
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 3_000_000)


def test_a_failed_command_tells_what_it_said(nodes):
    with pytest.raises(RemoteError) as caught:
        nodes.run("node1", "echo broken pipe dream >&2; exit 7")
    assert "node1" in caught.value.message
    assert "status 7" in caught.value.message
    assert caught.value.details == ["broken pipe dream"]
    assert nodes.run("node1", "exit 7", check=False).rc == 7


def test_one_connection_serves_many_commands(nodes, server):
    before = server.connections
    for _ in range(5):
        nodes.run("node1", "true")
    assert server.connections - before == 1


def test_silence_longer_than_the_timeout(nodes):
    with pytest.raises(ConnectionFailed, match=r"no output in 0\.3 s"):
        nodes.run("node1", "sleep 5", timeout=0.3)


def test_every_host_has_an_outcome(cluster, make_cluster):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dead = replace(cluster.master, name="node2", port=port)
    with Nodes(make_cluster(cluster.master, dead)) as nodes:
        outcome = nodes.run_all(["hostname"])
    assert list(outcome) == ["node1", "node2"]
    assert outcome["node1"].ok
    assert isinstance(outcome["node2"], ConnectionFailed)
    assert "refuses connections" in outcome["node2"].message


def test_put_and_get(nodes, tmp_path):
    target = tmp_path / "there" / "file with space"
    target.parent.mkdir()
    nodes.put("node1", b"content", str(target), mode=0o640)
    assert target.read_bytes() == b"content"
    assert target.stat().st_mode & 0o777 == 0o640
    nodes.get("node1", str(target), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    assert [p.name for p in target.parent.iterdir()] == ["file with space"]


def test_put_of_a_file_reports_its_bytes(nodes, tmp_path):
    source = tmp_path / "big"
    source.write_bytes(b"z" * 3_000_000)
    seen = []
    nodes.put("node1", source, str(tmp_path / "copy"), progress=seen.append)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert sum(seen) == 3_000_000


def test_get_of_what_is_not_there_leaves_nothing(nodes, tmp_path):
    with pytest.raises(RemoteError, match="No such file"):
        try:
            nodes.get("node1", "/nonexistent/x", tmp_path / "back")
        except RemoteError as exc:
            raise RemoteError("\n".join(exc.details)) from exc
    assert not list(tmp_path.glob("*back*"))


def test_get_tree(nodes, tmp_path):
    (tmp_path / "r" / "sub").mkdir(parents=True)
    (tmp_path / "r" / "sub" / "a.txt").write_text("A")
    nodes.get_tree("node1", str(tmp_path / "r"), tmp_path / "fetched")
    assert (tmp_path / "fetched" / "sub" / "a.txt").read_text() == "A"


def test_get_tree_refuses_what_leads_outside(nodes, tmp_path, monkeypatch):
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    (tmp_path / "evil.tar").write_bytes(evil.getvalue())
    fake = tmp_path / "bin" / "tar"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/evil.tar\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(RemoteError, match="outside its folder"):
        nodes.get_tree("node1", "/etc", tmp_path / "fetched")
    assert not (tmp_path / "outside").exists()


def test_stream_takes_pieces(nodes):
    pieces = [b"piece %d\n" % number for number in range(1000)]
    result = nodes.stream("node1", ["sha256sum"], iter(pieces))
    again = nodes.run("node1", ["sha256sum"], input=b"".join(pieces))
    assert result.stdout == again.stdout


def test_stream_stops_when_its_source_fails(nodes):
    def source():
        yield b"half"
        raise ValueError("disk gone")

    with pytest.raises(ValueError, match="disk gone"):
        nodes.stream("node1", "sleep 60", source())


def test_a_broken_put_leaves_the_old_file(nodes, tmp_path, monkeypatch):
    source, target = tmp_path / "new", tmp_path / "target"
    source.write_bytes(b"n" * 2_000_000)
    target.write_bytes(b"old")
    monkeypatch.setattr("mammoctl.ssh.transfer.pieces", lambda _source: iter([b"n" * 1000]))
    with pytest.raises(RemoteError):
        nodes.put("node1", source, str(target))
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "target.part").exists()


def test_follow_yields_lines_as_they_come(nodes):
    lines = []
    started = time.monotonic()
    for line in nodes.follow("node1", "for i in 1 2 3; do echo line $i; sleep 0.3; done"):
        lines.append((line, time.monotonic() - started))
    assert [line for line, _ in lines] == ["line 1", "line 2", "line 3"]
    assert lines[0][1] < lines[2][1] - 0.4


def test_follow_ends_the_command_when_nobody_listens(nodes, tmp_path):
    mark = tmp_path / "pid"
    lines = nodes.follow("node1", f"echo $$ > {mark}; echo ready; exec sleep 60")
    assert next(lines) == "ready"
    pid = int(mark.read_text())
    lines.close()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_follow_reports_the_status(nodes):
    with pytest.raises(RemoteError, match="status 3"):
        list(nodes.follow("node1", "echo one; exit 3"))


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        body = "<html>" if self.path == "/page" else json.dumps({"path": self.path})
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running.server_address[1]
    running.shutdown()
    running.server_close()


def test_http_json(nodes, web):
    assert nodes.http_json("node1", f"http://127.0.0.1:{web}/json/?a=1") == {"path": "/json/?a=1"}


@pytest.mark.parametrize(
    ("path", "said"), [("missing", "answers 404"), ("page", "not answer with")]
)
def test_http_json_of_something_else(nodes, web, path, said):
    with pytest.raises(RemoteError, match=said):
        nodes.http_json("node1", f"http://127.0.0.1:{web}/{path}")


def test_http_json_where_nothing_listens(nodes):
    with pytest.raises(RemoteError, match=r"nothing answers at http://127\.0\.0\.1:1/"):
        nodes.http_json("node1", "http://127.0.0.1:1/")


def test_forwarding_forbidden(nodes, web, server, monkeypatch):
    monkeypatch.setattr(server, "forwarding", False)
    with pytest.raises(RemoteError, match="forbids forwarding") as caught:
        nodes.http_json("node1", f"http://127.0.0.1:{web}/")
    assert "AllowTcpForwarding" in caught.value.hint


def test_tunnel(nodes, web):
    with nodes.tunnel("node1", "127.0.0.1", web) as (address, port):
        assert address == "127.0.0.1"
        with socket.create_connection((address, port), timeout=5) as client:
            client.sendall(b"GET /through HTTP/1.0\r\n\r\n")
            answer = b""
            while data := client.recv(4096):
                answer += data
    assert answer.endswith(b'{"path": "/through"}')
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), timeout=1)


# --- what can be wrong with a connection ------------------------------------------------------


def fails(cluster, openssh, **waits):
    with Nodes(cluster, **waits) as nodes, pytest.raises(ConnectionFailed) as caught:
        if openssh:
            host = cluster.master
            nodes.login = lambda _host: host.user
            nodes.stream("node1", ["true"], b"")
        else:
            nodes.run("node1", ["true"])
    return caught.value


both = pytest.mark.parametrize("openssh", [False, True], ids=["paramiko", "openssh"])


@both
def test_wrong_key(cluster, make_cluster, tmp_path, openssh):
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    error = fails(make_cluster(replace(cluster.master, key_file=key)), openssh)
    assert f"does not let in user tester with the key {key}" in error.message
    assert "ssh-copy-id" in error.hint


@both
def test_host_key_changed(cluster, server, pin, openssh):
    key = paramiko.Ed25519Key.from_private_key_file(str(server.user_key_file))
    pin(key)
    error = fails(cluster, openssh)
    assert "has CHANGED" in error.message
    assert server.host_key.fingerprint in error.details[1]
    if not openssh:
        assert key.fingerprint in error.details[0]
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {cluster.known_hosts}" in error.hint


@both
def test_host_key_unknown(cluster, server, openssh):
    cluster.known_hosts.unlink()
    error = fails(cluster, openssh)
    assert "is not known" in error.message
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {cluster.known_hosts}" in error.hint
    assert not cluster.known_hosts.exists()


@both
def test_refused(cluster, make_cluster, openssh):
    error = fails(make_cluster(replace(cluster.master, port=1)), openssh)
    assert error.message == "node1 (127.0.0.1 port 1) refuses connections"


@both
def test_name_does_not_resolve(cluster, make_cluster, openssh):
    error = fails(make_cluster(replace(cluster.master, address="no-such-host.invalid")), openssh)
    assert "does not resolve: no-such-host.invalid" in error.message


@both
def test_no_answer(cluster, make_cluster, monkeypatch, openssh):
    monkeypatch.setattr("mammoctl.ssh.config.CONNECT_TIMEOUT", 1)
    full = socket.socket()  # its backlog is full, so that further connections hang
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        waiting.append(client)
    error = fails(make_cluster(replace(cluster.master, port=port)), openssh, connect_s=1)
    assert "does not answer: " in error.message
    assert "timed out" in error.message
    for item in [full, *waiting]:
        item.close()


def test_key_file_missing(cluster, make_cluster, tmp_path):
    error = fails(make_cluster(replace(cluster.master, key_file=tmp_path / "none")), False)
    assert error.message.endswith(f"cannot be read: {tmp_path / 'none'}")


def test_sudo_wants_a_password(nodes, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "sudo"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(ConnectionFailed, match="user tester cannot become root") as caught:
        nodes.run("node1", ["id"], sudo=True, check=False)
    assert "NOPASSWD" in caught.value.hint


SUDO = """#!/bin/sh
# As sudo does: -n fails, -S reads line after line until one is right or there are no more.
case " $* " in *" -n "*) echo 'sudo: a password is required' >&2; exit 1;; esac
while read -r line; do
    echo try >> {tries}
    if [ "$line" = right ]; then
        while [ "$1" != -- ] && [ "$1" != true ]; do shift; done
        [ "$1" = -- ] && shift
        exec "$@"
    fi
    echo 'Sorry, try again.' >&2
done
echo 'sudo: no password was provided' >&2
exit 1
"""


@pytest.fixture
def asking(tmp_path, monkeypatch):
    """Let sudo ask for a password; return the file with a line per try."""
    fake, tries = tmp_path / "bin" / "sudo", tmp_path / "tries"
    fake.parent.mkdir()
    fake.write_text(SUDO.format(tries=tries))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    return tries


def test_a_right_password_reaches_sudo_alone(nodes, asking, monkeypatch):
    monkeypatch.setattr(become, "password", lambda _host: "right")
    assert nodes.run("node1", ["cat"], sudo=True, input="for the command").stdout == (
        "for the command"
    )
    assert list(nodes.follow("node1", ["echo", "line"], sudo=True)) == ["line"]


@pytest.mark.timeout(60)
def test_a_wrong_password_is_tried_once_and_nothing_waits(nodes, asking, monkeypatch):
    monkeypatch.setattr(become, "password", lambda _host: "wrong")
    for _time in range(2):
        with pytest.raises(ConnectionFailed, match="user tester cannot become root") as caught:
            list(nodes.follow("node1", ["echo", "line"], sudo=True))
        assert "no password was provided" in caught.value.message
    with lock.held(nodes, "provision"):  # without a lock: what needs root says so itself
        pass
    assert asking.read_text().splitlines() == ["try"]


def test_the_user_may_add_a_jump_host(cluster, make_cluster, server, tmp_path):
    """~/.ssh/config is read too: the way to `far` leads through the server itself."""
    known = cluster.known_hosts.read_text()
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    (home / "config").write_text(
        f"Host hop\n  HostName 127.0.0.1\n  Port {server.port}\n  User tester\n"
        f"  IdentityFile {server.user_key_file}\n"
    )
    far = Host(
        "far", "127.0.0.1", server.port, user="tester", key_file=server.user_key_file,
        ssh_options={"ProxyJump": "hop"},
    )  # fmt: skip
    before = server.connections
    with Nodes(make_cluster(far)) as nodes:
        assert nodes.run("far", "echo arrived").stdout == "arrived\n"
    assert server.connections - before == 3  # the hop, the far end, and the server's own probe
    assert cluster.known_hosts.read_text() == known
