"""Role python: one locked environment, the same everywhere, and everything in it imports."""

import re

import pytest
from infra_support import ENV_PYTHON, Node, expect, setting
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULES = ("numpy", "pandas", "pyarrow", "pyspark", "sklearn", "PIL", "pydicom", "matplotlib",
           "keras", "tensorflow")  # fmt: skip
# The distributions that may differ between nodes: with and without a GPU.
VARIANTS = re.compile(r"tensorflow|nvidia-|triton")


def import_all(node: Node) -> dict:
    user = setting(node, "spark_user")
    return node.program("imports.py", *MODULES, user=user, python=f"nice {ENV_PYTHON}")


@pytest.fixture
def imports(node, background):
    return background[f"imports {node.name}"].result()


def test_python(node, imports):
    """The environment has the recorded version of Python."""
    expect(
        imports["python"] == node.record["python_version"],
        f"Python {imports['python']} instead of {node.record['python_version']}",
    )


@pytest.mark.parametrize("module", MODULES)
def test_import(node, imports, module):
    """The module can be imported by the user that runs the jobs."""
    found = imports["modules"][module]
    expect(
        "error" not in found,
        f"import {module}: {found.get('error')}",
        f"on {node.name}: sudo rm -r {imports['prefix']}; then run `mammoctl provision` again",
    )


def test_locked(node, imports):
    """Every package has exactly the version of the bundle's lock."""
    key = (
        imports["prefix"].rpartition("/")[2].partition("-")[0]
    )  # the lock's, then the interpreter's
    locked = _locked(node.text("cat /var/lib/mammoctl/store/%s*/requirements*", key), imports)
    expect(locked, f"the lock of the environment {key} is not on the node")
    installed = {canonicalize_name(name): v for name, v in imports["installed"].items()}
    wrong = [
        f"{name} {installed.get(name, 'missing')} instead of {version}"
        for name, version in locked.items()
        if installed.get(name) != version
    ]
    expect(not wrong, "; ".join(wrong))


def _locked(text, imports):
    lines = re.sub(r"\\\n", " ", text).splitlines()
    lines = [re.sub(r"\s(--hash|#).*", "", line).strip() for line in lines]
    wanted = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    here = {"python_version": imports["python"], "python_full_version": imports["python"] + ".0"}
    return {
        canonicalize_name(item.name): next(iter(item.specifier)).version
        for item in wanted
        if len(item.specifier) == 1 and (item.marker is None or item.marker.evaluate(here))
    }


def test_same_everywhere(node, master, imports, background):
    """The packages are those of the master; only TensorFlow's variant may differ."""
    theirs = background[f"imports {master.name}"].result()["installed"]
    mine = imports["installed"]
    differing = [
        f"{name} {mine.get(name, 'missing')} (there {theirs.get(name, 'missing')})"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name) and not VARIANTS.match(canonicalize_name(name))
    ]
    expect(not differing, f"differs from {master.name}: {', '.join(differing[:10])}")


def test_gpu(node, imports):
    """TensorFlow sees the GPUs of a GPU node; it never falls back to the processor unseen."""
    if node.record["tensorflow_variant"].get(node.name) == "gpu":
        wanted = node.state["gpus"]
        expect(
            imports["gpus"] == wanted,
            f"TensorFlow lists {imports['gpus']} of {wanted} GPUs",
            f"look at `nvidia-smi` on {node.name}; docs/gpu.md says what must be there",
        )
    else:
        expect(imports["gpus"] == 0, f"a CPU node with {imports['gpus']} GPUs in TensorFlow")
