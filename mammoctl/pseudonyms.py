"""Names of machines, networks and people, replaced by others that mean nothing outside.

The same name becomes the same pseudonym throughout. Nodes are numbered as the inventory lists them,
so that they keep their pseudonyms from one time to the next; what else is met, in its order.
"""

from __future__ import annotations

import ipaddress
import re

# A machine or cluster that is called like this stays: it says nothing, and the word is everywhere.
_GENERIC = frozenset({
    "spark", "master", "worker", "workers", "hdfs", "hadoop", "node", "nodes", "cluster", "lab",
    "local", "data", "job", "jobs", "history", "namenode", "datanode", "mammoctl", "debian",
    "ubuntu", "server", "host", "gpu", "cpu", "test", "main", "ssh", "root", "linux",
})  # fmt: skip
# Accounts that every machine may have say nothing about anybody.
_ACCOUNTS = frozenset({
    "root", "admin", "debian", "ubuntu", "user", "spark", "hdfs", "mammoctl", "vagrant", "nobody",
})  # fmt: skip
# Whose addresses are everybody's.
_PUBLIC = (
    "apache.org", "debian.org", "ubuntu.com", "python.org", "pythonhosted.org", "nvidia.com",
    "github.com", "githubusercontent.com", "example.org", "w3.org", "freedesktop.org",
    "systemd.io", "tensorflow.org", "keras.io", "ansible.com",
)  # fmt: skip
_URL = re.compile(r"(?<=://)(?P<user>[^\s/@\"']*@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)")
_UNIT = r"(?!\S+\.(?:service|slice|scope|socket|target|timer|mount)\b)"
_MAIL = re.compile(rf"\b[\w.+-]{{1,64}}@{_UNIT}(?:[\w-]+\.)+[a-z]{{2,}}\b", re.I)
# Who submitted or ended a job; units of systemd are written alike.
_LOGIN = re.compile(rf"\b(?P<user>[A-Za-z][\w.+-]{{,63}})@{_UNIT}(?!tty)(?P<host>[A-Za-z][\w.-]*)")
_MAC = re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b", re.I)
# Behind == stands a version, which may have four parts as well.
_IP4 = re.compile(r"(?<![\d.=])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)")
_IP6 = re.compile(r"(?<![\w:.])(?=[0-9a-f:]*:[0-9a-f:]*:)[0-9a-f:]{3,39}(?![\w:])", re.I)
_PLACE = re.compile(r"(?<=/home/)[\w.-]+")


class Pseudonyms:
    """Replaces names in texts; new ones get a pseudonym when they are met.

    Attributes:
        given: name -> pseudonym, of the names that were told beforehand.
    """

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self._met: dict[str, str] = {}  # by their form, which finds them again
        self._count: dict[str, int] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, name: str, pseudonym: str) -> None:
        """Give a name a pseudonym; the first one given counts."""
        text = name.strip().strip(".").lower()
        if text and text not in _GENERIC and not _is_everybodys(text):
            self.given.setdefault(text, pseudonym)
            self._pattern = None

    def add_account(self, name: str, pseudonym: str) -> None:
        """Give a person's login a pseudonym, unless it is one that many machines have."""
        if len(name) > 1 and name.lower() not in _ACCOUNTS:
            self.add(name, pseudonym)

    def add_full_name(self, name: str, pseudonym: str) -> None:
        """Give a host's full name a pseudonym, and its domain one as well."""
        host, dot, domain = name.strip().strip(".").partition(".")
        if not host or _address(name):
            self.add(name, pseudonym)
            return
        self.add(host, pseudonym)
        if dot and not _is_everybodys(domain):
            self.add(name, pseudonym)
            if domain.lower() not in self.given:
                self.add(domain, self._next("domain"))

    def text(self, text: str) -> str:
        """Return the text with pseudonyms for all names that are known or have a known form."""
        text = _MAIL.sub(lambda m: self._meet(m[0], "mail"), text)
        text = self._known(_URL.sub(self._url, text))
        text = _LOGIN.sub(lambda m: f"{self._person(m['user'])}@{self._machine(m['host'])}", text)
        text = _MAC.sub(lambda m: self._meet(m[0], "mac"), text)
        text = _IP4.sub(self._ip, text)
        text = _IP6.sub(self._ip, text)
        return _PLACE.sub(lambda m: self._person(m[0]), text)

    def _known(self, text: str) -> str:
        if not self.given:
            return text
        if self._pattern is None:
            parts = []
            for name in sorted(self.given, key=len, reverse=True):
                address = r"(?!\.?\d)" if _address(name) else ""
                parts.append(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9]){address}")
            self._pattern = re.compile("|".join(parts), re.I)
        return self._pattern.sub(lambda m: self.given[m[0].lower()], text)

    def _meet(self, name: str, kind: str) -> str:
        key = name.lower()
        if key in self.given:
            return self.given[key]
        if key not in self._met:
            self._met[key] = self._next(kind)
        return self._met[key]

    def _stays(self, name: str) -> bool:
        """Tell whether a name says nothing, or is a pseudonym already."""
        key = name.lower()
        if _is_everybodys(key) or key in _GENERIC:
            return True
        return name in self.given.values() or name in self._met.values()

    def _next(self, kind: str) -> str:
        self._count[kind] = self._count.get(kind, 0) + 1
        return f"{kind}-{self._count[kind]}"

    def _url(self, found: re.Match[str]) -> str:
        host, user = found["host"].rstrip("."), found["user"] or ""
        rest = found["host"][len(host) :]
        first = host.partition(".")[0].lower()
        if _address(host) or self._stays(host):
            return found[0]
        if first in self.given or host.lower() in self.given:
            return found[0]  # one of those that are known
        return f"{user}{self._meet(host, 'host')}{rest}"

    def _machine(self, name: str) -> str:
        host = name.rstrip(".")
        if self._stays(host):
            return name
        return self._meet(host, "host") + name[len(host) :]

    def _ip(self, found: re.Match[str]) -> str:
        address = _address(found[0])
        if address is None or _is_everybodys(found[0].lower()):
            return found[0]
        return self._meet(found[0], "address")

    def _person(self, login: str) -> str:
        name = login.rstrip(".")
        if name.lower() in _ACCOUNTS or self._stays(name):
            return login
        return self._meet(name, "person") + login[len(name) :]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_everybodys(name: str) -> bool:
    """Tell whether a name or address says nothing: loopback, a mask, a public project."""
    if address := _address(name):
        everywhere = address.is_loopback or address.is_unspecified or address.is_multicast
        return everywhere or name.startswith("255.")
    return name == "localhost" or any(
        name == domain or name.endswith(f".{domain}") for domain in _PUBLIC
    )
