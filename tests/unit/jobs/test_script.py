"""A program of the user's own: what travels with it, what it asks for, how it is started."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from test_spec import FOLDER, JOB, RECORD, ROOT

from mammoctl.cluster import ClusterFile, parse
from mammoctl.errors import UsageError
from mammoctl.jobs import cargo, launch
from mammoctl.jobs.package import Shipment
from mammoctl.jobs.script import ScriptJob
from mammoctl.jobs.settings import Options, settings
from mammoctl.jobs.spec import JobSpec, Weights, environment, needs, submit_argv


@pytest.fixture
def lab() -> ClusterFile:
    return parse(json.dumps(RECORD))


def pack(path: Path, **lists: str) -> tuple[str, dict[str, list[str]], Shipment]:
    given = {name.replace("_", "-"): value for name, value in lists.items()}
    return cargo.pack(path, given, None)


def lay_out(shipment: Shipment, folder: Path) -> None:
    for name, content in shipment.files.items():
        (folder / name).write_bytes(content)


def test_command_line_of_a_program_is_exact(lab: ClusterFile) -> None:
    job = ScriptJob(
        JOB,
        "count.py",
        "count.py",
        ("--n", "10", "a b"),
        {"py-files": ["m.py", "hdfs:///lib.zip"], "files": ["a.csv#b.csv"], "jars": []},
        conf={"spark.executor.memory": "2g", "spark.sql.shuffle.partitions": "8"},
    )
    argv = submit_argv(lab, job)
    plain = [w for n, w in enumerate(argv) if w != "--conf" and argv[n - 1] != "--conf"]
    assert plain == [
        "/opt/spark/bin/spark-submit",
        *("--master", "spark://lab1:7077", "--deploy-mode", "client"),
        *("--py-files", f"{FOLDER}/app/m.py,hdfs:///lib.zip"),
        *("--files", f"{FOLDER}/app/a.csv#b.csv"),
        f"{FOLDER}/app/count.py",
        *("--n", "10", "a b"),
    ]
    conf = dict(argv[n + 1].split("=", 1) for n, word in enumerate(argv) if word == "--conf")
    assert conf["spark.executor.memory"] == "2g"
    assert conf["spark.sql.shuffle.partitions"] == "8"
    assert conf["spark.cores.max"] == "6"
    assert "spark.task.cpus" not in conf  # that is for TensorFlow
    env = environment(lab, job)
    assert env["MAMMOCTL_RESULTS"] == f"{FOLDER}/results"
    assert env["MAMMOCTL_CHECKPOINTS"] == f"{ROOT}/checkpoints/{JOB}"


def test_a_jar_has_its_class(lab: ClusterFile, tmp_path: Path) -> None:
    jar = tmp_path / "count.jar"
    jar.write_bytes(b"PK")
    main, lists, _ = cargo.pack(jar, {}, "org.example.Count")
    job = ScriptJob(JOB, "count.jar", main, (), lists, "org.example.Count")
    argv = submit_argv(lab, job)
    assert argv[argv.index("--class") + 1] == "org.example.Count"
    assert argv[-1] == f"{FOLDER}/app/count.jar"
    with pytest.raises(UsageError, match="--class"):
        cargo.pack(jar, {}, None)


def test_files_travel_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print(1)")
    (tmp_path / "m.py").write_text("x = 1")
    (tmp_path / "n-1.0-py3-none-any.whl").write_bytes(b"PK wheel")
    (tmp_path / "lib" / "inner").mkdir(parents=True)
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "inner" / "a.py").write_text("a = 1")
    (tmp_path / "lib" / "__pycache__").mkdir()
    (tmp_path / "lib" / "__pycache__" / "a.pyc").write_text("")
    py_files = f"{tmp_path}/m.py, {tmp_path}/n-1.0-py3-none-any.whl,{tmp_path}/lib,hdfs:///x.zip"
    main, lists, shipment = pack(tmp_path / "job.py", py_files=py_files)
    assert main == "job.py"
    assert lists["py-files"] == ["m.py", "n-1.0-py3-none-any.whl.zip", "lib.zip", "hdfs:///x.zip"]
    assert sorted(shipment.files) == ["job.py", "lib.zip", "m.py", "n-1.0-py3-none-any.whl.zip"]
    names = zipfile.ZipFile(io.BytesIO(shipment.files["lib.zip"])).namelist()
    assert names == ["lib/__init__.py", "lib/inner/a.py"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text(folder)
    (tmp_path / "job.py").write_text("")
    with pytest.raises(UsageError, match=r"two files called m\.py"):
        pack(tmp_path / "job.py", py_files=f"{tmp_path}/a/m.py,{tmp_path}/b/m.py")


def test_what_is_not_there_or_cannot_run(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text("")
    with pytest.raises(UsageError, match="there is no") as caught:
        pack(tmp_path / "trainin.py")
    assert caught.value.hint == f"did you mean {tmp_path / 'training.py'}?"
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="is no program for Spark"):
        pack(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match=r"no __main__\.py"):
        pack(tmp_path)
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(UsageError, match="no zip archive"):
        pack(tmp_path / "broken.zip")


def test_too_much_to_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cargo, "MOST_BYTES", 10)
    (tmp_path / "job.py").write_text("123456")
    (tmp_path / "m.py").write_text("123456")
    with pytest.raises(UsageError, match="travels with the job"):
        pack(tmp_path / "job.py", py_files=str(tmp_path / "m.py"))
    (tmp_path / "m.py").write_text("12345678901")
    with pytest.raises(UsageError, match="is larger"):
        pack(tmp_path / "m.py")
    with pytest.raises(UsageError, match="more than"):
        pack(tmp_path)


@pytest.mark.parametrize("shape", ["folder", "package", "zip"])
def test_a_package_runs_by_its_main_and_imports_its_own(tmp_path: Path, shape: str) -> None:
    source = tmp_path / "source" / "tool"
    source.mkdir(parents=True)
    (source / "part.py").write_text("VALUE = 'from part'\n")
    own = "from .part import VALUE" if shape == "package" else "from part import VALUE"
    lines = ("import sys", own, "print(VALUE, __name__, sys.argv[1:])", "")
    (source / "__main__.py").write_text("\n".join(lines))
    if shape == "package":
        (source / "__init__.py").write_text("")
    path = source
    if shape == "zip":
        path = tmp_path / "tool.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in source.iterdir():
                archive.write(file, file.name)
    main, lists, shipment = pack(path)
    assert lists["py-files"] == ["tool.zip"]
    app = tmp_path / "app"
    app.mkdir()
    lay_out(shipment, app)
    # spark-submit puts the files of --py-files on the driver's path
    done = subprocess.run(
        [sys.executable, str(app / main), "x", "--y"],
        env={"PYTHONPATH": str(app / "tool.zip")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "from part __main__ ['x', '--y']\n"


def test_settings_come_from_files_and_options_the_later_wins(
    lab: ClusterFile, tmp_path: Path
) -> None:
    path = tmp_path / "my.conf"
    path.write_text("# mine\nspark.a one\nspark.b = two\nspark.executor.memory: 1g\n\n")
    options = Options(
        conf=["spark.b=three", "spark.c=x=y"],
        properties_file=path,
        executor_memory="2g",
        executor_cores=1,
        num_executors=4,
        driver_memory="900m",
    )
    assert settings(options, lab) == {
        "spark.a": "one",
        "spark.b": "three",
        "spark.c": "x=y",
        "spark.executor.memory": "2g",
        "spark.executor.cores": "1",
        "spark.cores.max": "4",
        "spark.driver.memory": "900m",
    }


def test_fewer_cores_than_an_executor_has_make_a_smaller_one(lab: ClusterFile) -> None:
    conf = settings(Options(total_executor_cores=1), lab)
    assert conf == {"spark.cores.max": "1", "spark.executor.cores": "1"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(conf=["spark.a"]), "no value"),
        (Options(conf=["a.b=1"]), "no setting of Spark"),
        (Options(conf=["spark.master=local"]), "cannot be given"),
        (Options(conf=["spark.authenticate.secret=x"]), "cannot be given"),
        (Options(executor_memory="1024"), "no size of memory"),
        (Options(driver_memory="much"), "no size of memory"),
        (Options(executor_memory="64g"), "no worker has 2 cores and 65536 MiB"),
        (Options(executor_cores=3), "no worker has 3 cores"),
        (Options(executor_cores=2, total_executor_cores=1), "fewer than"),
        (Options(num_executors=1, total_executor_cores=2), "--num-executors beside"),
        (Options(conf=["spark.cores.max=many"]), "not a number"),
        (Options(properties_file=Path("/no/such.conf")), "cannot read"),
    ],
)
def test_settings_that_cannot_be(lab: ClusterFile, options: Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings(options, lab)


def test_what_a_program_waits_for(lab: ClusterFile) -> None:
    conf = settings(Options(num_executors=2, executor_cores=1, driver_memory="1g"), lab)
    wanted = needs(lab, ScriptJob(JOB, "a.py", "a.py", conf=conf))
    assert (wanted["executors"], wanted["cores"], wanted["driver_mb"]) == (2, 1, 1536)


@pytest.mark.parametrize(
    "job",
    [
        JobSpec(JOB, "d", "vgg16", Weights("hdfs:///w", "0" * 64, "w.h5"), 3, 7, 8, {"folds": "5"}),
        JobSpec(JOB, "d", "vgg16", None, 3, 7, 8, conf={"spark.a": "b"}),
        ScriptJob(JOB, "a.py", "a.py", ("--x",), {"py-files": ["m.py"]}, notify=("https://h/...",)),
    ],
)
def test_a_job_is_made_again_from_its_record(lab: ClusterFile, job: Any) -> None:
    kept = json.loads(json.dumps(launch.document(lab, job)))
    assert submit_argv(lab, launch.restored(kept)) == submit_argv(lab, job)
    assert launch.document(lab, launch.restored(kept)).keys() == kept.keys()


def test_a_job_of_a_kind_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="does not know"):
        launch.restored({"id": JOB, "kind": "from the future", "mammoctl": "9.0"})
