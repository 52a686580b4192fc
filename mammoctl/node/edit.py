"""Edit the text of a YAML inventory: a node more, or one less; every other line stays as it is.

The places are those that PyYAML's parser reports; what is written back is the text of the file, so
comments, quotes and spacing are the owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl.errors import UsageError
from mammoctl.init.write import scalar
from mammoctl.inventory import WORKERS_GROUP

if TYPE_CHECKING:
    import yaml

_INDENT = 2


def added(text: str, name: str, values: Mapping[str, object], about: str, *, where: Path) -> str:
    """Return an inventory's text with one worker more.

    Args:
        text: the present text.
        name: of the node.
        values: its variables.
        about: a comment above it; may be empty.
        where: the file, for messages.

    Raises:
        UsageError: the file is not one that can be edited safely; it says what to write by hand.
    """
    root = _root(text, where)
    mine = [f"# {about}"] if about else []
    mine += [f"{scalar(name)}:", *(f"  {key}: {_value(value)}" for key, value in values.items())]
    hosts = _at(root, ("all", "hosts"))
    workers = _workers(root)
    if workers is None:
        raise _by_hand(where, name, mine, f"there is no group {WORKERS_GROUP} with hosts")
    places = [(workers, [f"{scalar(name)}:"] if hosts else mine)]
    if hosts:
        places.append((hosts, mine))
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    # From the last place to the first: line numbers before it stay true.
    for (key, value), new in sorted(places, key=lambda p: p[0][0].start_mark.line, reverse=True):
        at, indent = _end(key, value, lambda why: _by_hand(where, name, mine, why))
        lines[at:at] = [" " * indent + line + "\n" for line in new]
    return "".join(lines)


def removed(text: str, name: str, *, where: Path) -> str:
    """Return an inventory's text without a node, in all of its groups.

    The comment right above the place with its variables goes with it.

    Raises:
        UsageError: the file is not one that can be edited safely.
    """
    lines = text.splitlines(keepends=True)
    cuts = []
    for hosts in _hosts_mappings(_root(text, where)):
        for key, value in hosts.value:
            if key.value != name:
                continue
            if hosts.flow_style:
                raise UsageError(
                    f"{where}:{key.start_mark.line + 1}: {name} stands in braces, which are not "
                    "edited",
                    hint="take it out there by hand, then run the same command again",
                )
            first, last = key.start_mark.line, _last_line(key, value)
            if value.value:  # where its variables are
                first = _comment_above(lines, first, key.start_mark.column)
            cuts.append((first, last))
    if not cuts:
        raise UsageError(f"{where} has no host {name}", hint="is it in another file?")
    for first, last in sorted(cuts, reverse=True):
        del lines[first : last + 1]
    return "".join(lines)


def _value(value: object) -> str:
    return str(value) if isinstance(value, int) else scalar(str(value))


def _root(text: str, where: Path) -> yaml.MappingNode:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        root = None
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            f"{where} is not an inventory in YAML, and no other kind is edited",
            hint="edit it by hand, then: mammoctl provision",
        )
    return root


def _at(root: yaml.MappingNode, path: tuple[str, ...]) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    """Return key and value at a path of mappings."""
    import yaml

    found: tuple[yaml.ScalarNode, yaml.Node] | None = None
    node: yaml.Node = root
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        found = next((pair for pair in node.value if pair[0].value == part), None)
        if found is None:
            return None
        node = found[1]
    return found


def _workers(root: yaml.MappingNode) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    return _at(root, ("all", "children", WORKERS_GROUP, "hosts")) or _at(
        root, (WORKERS_GROUP, "hosts")
    )


def _hosts_mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Yield every mapping under a key ``hosts`` of a group."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.value == "hosts" and isinstance(value, yaml.MappingNode):
            yield value
        elif key.value != "vars":
            yield from _hosts_mappings(value)


def _end(
    key: yaml.ScalarNode, value: yaml.Node, refuse: Callable[[str], UsageError]
) -> tuple[int, int]:
    """Return the line behind the last entry of a mapping, and the indentation of its entries."""
    import yaml

    if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
        last_key, last_value = value.value[-1]
        return _last_line(last_key, last_value) + 1, int(last_key.start_mark.column)
    if isinstance(value, yaml.ScalarNode) and value.value == "":
        return int(key.start_mark.line) + 1, int(key.start_mark.column) + _INDENT
    raise refuse(f"line {key.start_mark.line + 1} has its hosts in braces")


def _last_line(key: yaml.ScalarNode, value: yaml.Node) -> int:
    """Return the last line of an entry; a block's end mark is on what comes after it."""
    import yaml

    if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
        return _last_line(*value.value[-1])
    if isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style:
        return _last_line(key, value.value[-1])
    if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
        return int(value.end_mark.line) - 1
    if isinstance(value, yaml.ScalarNode) and value.value == "" and value.style is None:
        return int(key.end_mark.line)
    return int(value.end_mark.line)


def _comment_above(lines: list[str], first: int, column: int) -> int:
    while first > 0:
        above = lines[first - 1]
        if not above.startswith(" " * column + "#"):
            break
        first -= 1
    return first


def _by_hand(where: Path, name: str, lines: list[str], why: str) -> UsageError:
    return UsageError(
        f"{where} cannot be edited: {why}",
        details=[*lines, f"and {name} in the group {WORKERS_GROUP}"],
        hint="write this into it by hand, then: mammoctl provision",
    )
