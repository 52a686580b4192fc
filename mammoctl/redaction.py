"""What is secret in a text, and its removal: the one place that knows.

Everything that mammoctl writes down for the eyes of others goes through here: the command line at
the head of a run's log, and every file of a support bundle. A secret is found by its value where
the value is known, by the name that stands before it, or by its form (a private key, a token, the
password in an URL). Where there is doubt, more is removed rather than less.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

REMOVED = "[removed]"

_SECRET_PARTS = (
    "password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "cookie",
    "authorization",
)  # fmt: skip
_SECRET_WORDS = frozenset({"pass", "pwd", "hmac", "signature", "sig"})
_SECRET_ENDS = ("pass", "auth")
_KEYS_OF = frozenset({
    "secret", "access", "private", "account", "api", "auth", "encryption", "signing", "hmac",
    "shared", "master",
})  # fmt: skip
# Of a secret they tell something else than its value: where it lies, how long it is.
_ABOUT = frozenset({
    "file", "files", "path", "dir", "folder", "keytab", "manager", "provider", "renewer",
    "enable", "enabled", "timeout", "lifetime", "ttl", "interval", "bits", "length", "size",
    "algorithm", "type", "class", "mode", "count", "max", "min", "age", "needed", "free",
})  # fmt: skip
_NO_VALUE = frozenset({"", "true", "false", "yes", "no", "null", "none", "~", "[]", "{}", REMOVED})
_LONG = 8
"""Characters from which on a known value is replaced inside of longer words as well."""

_SHORTEST = 4
_SHORTEST_NUMBER = 6

_NAME = r"(?<![A-Za-z_])[A-Za-z_][\w.\-]{0,120}"
_QUOTE = r"\\*[\"']"
# name: value, name=value, "name": "value", also inside of quoted JSON.
_ASSIGNED = re.compile(rf"(?P<name>{_NAME})(?:{_QUOTE})?(?P<sep>\s*[:=]\s*)")
_QUOTED = re.compile(rf"(?P<q>{_QUOTE})(?P<value>.*?)(?P=q)")
_OPTION = re.compile(rf"(?P<head>(?<!\S)--?(?P<name>{_NAME})\s+)(?P<value>[^\s-]\S*)")
# A line of settings with blanks between name and value, as spark-defaults.conf has them.
_SETTING = re.compile(rf"^(?P<head>\s*(?P<name>{_NAME})[ \t]+)(?P<value>\S.*)$")
_PROPERTY = re.compile(r"(<name>\s*([^<]*?)\s*</name>\s*<value>)(.*?)(</value>)", re.S)
_YAML_BLOCK = re.compile(
    rf"^(\s*(?:- )?)[\"']?({_NAME})[\"']?\s*:\s*(?:[|>][-+0-9]*|[\[{{])?\s*(?:#.*)?$"
)
_NETRC = re.compile(r"(\blogin\s+\S+\s+password\s+)(\S+)")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# An unquoted value without a blank before it: up to the next blank, bracket or name=value.
_BARE = re.compile(r"(?:[^\s,;&\"'\\)\]}]|[,;&\"'\\)\]}](?!\s|$|[\w.-]+=|[,;&\"'\\)\]}]))*")

_FORMS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "private key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
            r"(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|[A-Za-z0-9+/=\s:,-]*)",
            re.S,
        ),
        REMOVED,
    ),
    ("vault", re.compile(r"\$ANSIBLE_VAULT;[^\n]*(?:\s*\n\s*[0-9a-f]{6,80}(?=\s|$))*"), REMOVED),
    # The middle of a private key: whole lines of base64 that are no checksum.
    (
        "private key",
        re.compile(r"^[ \t]*(?![0-9a-fA-F]+[ \t]*$)[A-Za-z0-9+/]{60,}={0,2}[ \t]*$", re.M),
        REMOVED,
    ),
    (
        "password in an URL",
        re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']*:)[^\s/\"']+(?=@)", re.I),
        rf"\1{REMOVED}",
    ),
    (
        "password in an URL",
        re.compile(r"(\bhttps?://)(?![^\s/@:]*:\[removed\])[^\s/:@\"']+(?=@)", re.I),
        rf"\1{REMOVED}",
    ),
    (
        "token",
        re.compile(r"\b(Bearer|Basic(?=\s+\S*[0-9=+/]))\s+[A-Za-z0-9+/=._~-]{8,}"),
        rf"\1 {REMOVED}",
    ),
    ("token", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"), REMOVED),
    (
        "token",
        re.compile(
            r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abpr]-[\w-]{10,}"
            r"|hf_\w{20,}|pypi-[\w-]{20,}|A[KS]IA[0-9A-Z]{16})"
        ),
        REMOVED,
    ),
    (
        "password",
        re.compile(r"\$(?:1|2[abxy]|5|6|7|y|gy|argon2id?)\$[./A-Za-z0-9$=,]{20,}"),
        REMOVED,
    ),
)


def is_secret_name(name: str) -> bool:
    """Tell whether what has this name is a secret: ``spark.authenticate.secret``, ``API_KEY``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    if any(part in word for word in words for part in _SECRET_PARTS):
        return True
    if _SECRET_WORDS.intersection(words) or words[-1].endswith(_SECRET_ENDS):
        return True
    pairs = itertools.pairwise(words)
    return any(first in _KEYS_OF and second in ("key", "keys") for first, second in pairs)


class Redactor:
    """Takes secrets out of texts and values, and counts them.

    Args:
        rename: is applied to what is left of every text, such as pseudonyms for hosts.

    Attributes:
        removed: how often a secret of each kind was taken out.
    """

    def __init__(self, rename: Callable[[str], str] | None = None) -> None:
        self.removed: Counter[str] = Counter()
        self._rename = rename or (lambda text: text)
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def know(self, value: object) -> None:
        """Remember a secret: it is removed wherever it stands, whatever stands before it."""
        text = str(value).strip()
        for line in text.splitlines() if "\n" in text else [text]:
            one = line.strip()
            long_enough = len(one) >= (_SHORTEST_NUMBER if one.isdigit() else _SHORTEST)
            if long_enough and one.lower() not in _NO_VALUE and not one.startswith("-----"):
                # as it may be written in URLs and in JSON
                self._known |= {one, quote(one, safe=""), json.dumps(one)[1:-1]}
                self._pattern = None

    def know_file(self, path: Path) -> None:
        """Remember the content of a file that is secret as a whole; one that is unreadable is none.

        Of a private key every line counts, so that parts of it are found as well.
        """
        try:
            content = path.read_bytes().decode("utf-8", errors="replace")
        except OSError:
            return
        self.know(content)
        for word in content.split():
            if len(word) >= _LONG:
                self.know(word.strip("\"',"))

    def know_values(self, values: Any) -> None:
        """Remember every value of a mapping, however deep, whose name says that it is secret."""
        if isinstance(values, Mapping):
            for name, value in values.items():
                if is_secret_name(str(name)):
                    for leaf in _leaves(value):
                        self.know(leaf)
                else:
                    self.know_values(value)
        elif isinstance(values, list | tuple):
            for value in values:
                self.know_values(value)

    def know_environment(self) -> None:
        """Remember the secrets in this program's environment variables."""
        self.know_values(dict(os.environ))

    def know_settings(self, text: str) -> None:
        """Remember the secrets in a settings file, so that they are found in other texts too."""
        self._named(text, keep=self.know)

    def text(self, text: str) -> str:
        """Return the text without its secrets; its lines stay where they are."""
        text = self._values(text)
        for kind, form, instead in _FORMS:
            text, count = form.subn(partial(_lines_kept, instead), text)
            self.removed[kind] += count
        return self._rename(self._named(text))

    def value(self, value: Any) -> Any:
        """Return plain values (of JSON or YAML) without their secrets; keys of mappings too."""
        if isinstance(value, Mapping):
            return {
                self.text(str(name)): REMOVED
                if is_secret_name(str(name)) and self._counted(value[name])
                else self.value(value[name])
                for name in value
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(one) for one in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool | int | float) or value is None:
            known = not isinstance(value, bool) and str(value) in self._known
            return REMOVED if known else value
        return self.text(str(value))

    def _counted(self, value: Any) -> bool:
        is_value = not isinstance(value, bool) and str(value).strip().lower() not in _NO_VALUE
        self.removed["by name"] += is_value
        return is_value

    def _values(self, text: str) -> str:
        if not self._known:
            return text
        if self._pattern is None:
            parts = [
                re.escape(one) if len(one) >= _LONG else rf"(?<!\w){re.escape(one)}(?!\w)"
                for one in sorted(self._known, key=len, reverse=True)
            ]
            self._pattern = re.compile("|".join(parts))
        text, count = self._pattern.subn(REMOVED, text)
        self.removed["by value"] += count
        return text

    def _named(self, text: str, keep: Callable[[object], None] | None = None) -> str:
        def property_(found: re.Match[str]) -> str:
            value = found[3].strip()
            if not is_secret_name(found[2]) or value.lower() in _NO_VALUE:
                return found[0]
            return f"{found[1]}{self._take(value, keep)}{found[4]}"

        text = _PROPERTY.sub(property_, text)
        lines: list[str] = []
        deeper: int | None = None  # inside of a block of YAML that belongs to a secret's name
        for line in text.split("\n"):
            if deeper is not None:
                if not line.strip() or _indent(line) > deeper:
                    taken = self._take(line.strip(), keep) if line.strip() else ""
                    lines.append(line[: _indent(line)] + taken)
                    continue
                deeper = None
            if (block := _YAML_BLOCK.match(line)) and is_secret_name(block[2]):
                deeper = len(block[1])
            lines.append(self._line(line, keep))
        return "\n".join(lines)

    def _line(self, line: str, keep: Callable[[object], None] | None) -> str:
        line = _NETRC.sub(lambda m: m[1] + self._take(m[2], keep), line)
        found = _SETTING.match(line)
        if found and re.search(r"\w[._]\w", found["name"]) and is_secret_name(found["name"]):
            value = found["value"]
            if value[0] not in ":=" and value.lower() not in _NO_VALUE:
                return found["head"] + self._take(value, keep)

        def option(found: re.Match[str]) -> str:
            if not is_secret_name(found["name"]) or found["value"].lower() in _NO_VALUE:
                return found[0]
            return found["head"] + self._take(found["value"], keep)

        line = _OPTION.sub(option, line)
        done: list[str] = []
        at = 0
        while found := _ASSIGNED.search(line, at):
            done.append(line[at : found.end()])
            at = found.end()
            if not is_secret_name(found["name"]):
                continue  # the value may hold a name and a value of its own
            if quoted := _QUOTED.match(line, at):
                q, value, at = quoted["q"], quoted["value"], quoted.end()
            elif found["sep"][-1].isspace():
                q, value, at = "", line[at:], len(line)
            else:
                bare = _BARE.match(line, at)
                q, value = "", bare[0] if bare else ""
                at += len(value)
            empty = value.strip().lower() in _NO_VALUE
            done.append(f"{q}{value if empty else self._take(value, keep)}{q}")
        return "".join([*done, line[at:]])

    def _take(self, value: str, keep: Callable[[object], None] | None) -> str:
        if keep:
            keep(value.strip().strip("\"'"))
        elif value != REMOVED:
            self.removed["by name"] += 1
        return REMOVED


def _leaves(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif value is not None and not isinstance(value, bool):
        yield value


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _lines_kept(instead: str, found: re.Match[str]) -> str:
    return found.expand(instead) + "\n" * found[0].count("\n")
