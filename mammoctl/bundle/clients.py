"""The ordinary clients that fetch from registries, and what to say when one of them fails."""

from __future__ import annotations

import importlib.util
import os
import re
import sys

from mammoctl.errors import BundleError

# What a user may have set for other purposes and what would change which file is taken.
_DISTURBING = frozenset(
    f"PIP_{name}"
    for line in (
        "ABI CONSTRAINT BUILD_CONSTRAINT DEST DRY_RUN IMPLEMENTATION LOG NO_BINARY",
        "NO_BUILD_ISOLATION NO_CLEAN NO_DEPS ONLY_BINARY PLATFORM PRE PREFER_BINARY PREFIX PYTHON",
        "PYTHON_VERSION QUIET REQUIREMENT REQUIRE_VIRTUALENV ROOT SRC TARGET USER VERBOSE",
    )
    for name in line.split()
)
_UNREACHABLE = re.compile(
    r"(NewConnectionError|Could not connect|Max retries exceeded|Name or service not known|"
    r"Temporary failure in name resolution|Connection (refused|reset|aborted|timed out)|"
    r"Network is unreachable|ConnectTimeout|ReadTimeout|Read timed out|UnknownHostException|"
    r"error sending request|dns error|IncompleteRead|Unknown host|ProxyError|"
    r"Connection broken|ConnectException|Could not transfer|tunneling|50[234] )"
)
_CERTIFICATE = re.compile(r"(CERTIFICATE_VERIFY_FAILED|certificate verify|PKIX|UnknownIssuer)")
# What clients add to every failure without saying anything about it.
_CHATTER = re.compile(r"\[notice\]|\[ERROR\]\s*(To see|Re-run|For more|\[Help|$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def uv_binary() -> str:
    """Return the path of the uv that belongs to this environment.

    Raises:
        BundleError: it is not installed.
    """
    import uv

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError as exc:
        raise BundleError(
            f"uv is missing beside mammoctl: {exc}", hint="install mammoctl again"
        ) from exc


def pip_argv() -> list[str]:
    """Return the start of a pip command line: this environment's pip, else one run by uv."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    return [uv_binary(), "tool", "run", "--python", sys.executable, "pip"]


def pip_environment() -> dict[str, str]:
    """Return the environment for pip: the user's index, proxy and certificates, nothing more."""
    kept = {name: value for name, value in os.environ.items() if name not in _DISTURBING}
    return kept | {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}


def is_unreachable(output: str) -> bool:
    """Tell whether a client's output speaks of the network, so that trying again may help."""
    return bool(_UNREACHABLE.search(output)) and not _CERTIFICATE.search(output)


def client_error(doing: str, output: str) -> BundleError:
    """Explain a client's failure.

    Args:
        doing: what was tried, such as ``download numpy``.
        output: what the client wrote; its last lines are shown.
    """
    lines = [line.strip() for line in _COLOUR.sub("", output).splitlines() if line.strip()]
    details = [line[:300] for line in lines if not _CHATTER.match(line)][-6:]
    if _CERTIFICATE.search(output):
        return BundleError(
            f"cannot {doing}: the server's certificate is not trusted here",
            hint="behind an inspecting proxy, name its certificates in SSL_CERT_FILE and PIP_CERT "
            "(for Maven: the Java trust store)",
            details=details,
        )
    if _UNREACHABLE.search(output):
        return BundleError(
            f"cannot {doing}: the network or the index is unreachable",
            hint="check the network, the proxy and the configured mirrors (pip config list, "
            "~/.m2/settings.xml), then run the same command again: finished files are kept",
            details=details,
        )
    if "No space left on device" in output:
        return BundleError(
            f"cannot {doing}: no space left on the disk",
            hint="free some, or point MAMMOCTL_CACHE_DIR and TMPDIR to a larger disk",
            details=details,
        )
    return BundleError(
        f"cannot {doing}",
        hint="if the configured index is a mirror, check that it carries this file",
        details=details,
    )
