import pytest

from mammoctl import spark_master
from mammoctl.errors import RemoteError

# As Spark 4.3.0 answers, shortened.
DOCUMENT = {
    "url": "spark://lab1:7077",
    "status": "ALIVE",
    "workers": [
        {"id": "worker-1-lab1", "host": "lab1", "port": 7078, "webuiaddress": "http://lab1:8081",
         "cores": 2, "coresused": 1, "coresfree": 1, "memory": 3072, "memoryused": 480,
         "memoryfree": 2592, "resources": {}, "state": "ALIVE", "lastheartbeat": 1},
        {"id": "worker-1-lab2", "host": "lab2", "port": 7078, "cores": 4, "memory": 4096,
         "state": "ALIVE"},
        {"id": "worker-0-lab2", "host": "lab2", "port": 7078, "cores": 4, "memory": 4096,
         "state": "DEAD"},
    ],
    "aliveworkers": 2, "cores": 6, "coresused": 1, "memory": 7168, "memoryused": 480,
    "activeapps": [{"id": "app-1", "name": "training"}], "completedapps": [],
}  # fmt: skip
GOOD = {"lab1": ("192.0.2.1", 2, 3072), "lab2": ("192.0.2.2", 4, 4096)}


@pytest.fixture
def state():
    return spark_master.parse(DOCUMENT)


def test_parse(state):
    assert [worker.host for worker in state.alive] == ["lab1", "lab2"]
    assert state.workers[0].cores_used == 1
    assert state.workers[0].memory_used_mb == 480


@pytest.mark.parametrize("document", [None, [], {"status": "ALIVE"}, {**DOCUMENT, "workers": [1]}])
def test_something_else(document):
    with pytest.raises(RemoteError, match="not understood"):
        spark_master.parse(document)


def test_all_is_well(state):
    assert spark_master.differences(state, GOOD) == {}


def test_workers_that_register_by_address():
    renamed = [{**w, "host": w["host"].replace("lab", "192.0.2.")} for w in DOCUMENT["workers"]]
    assert (
        spark_master.differences(spark_master.parse({**DOCUMENT, "workers": renamed}), GOOD) == {}
    )


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        ({"lab1": ("x", 4, 3072)}, {"lab1": ["2 cores instead of 4"]}),
        ({"lab1": ("x", 2, 1024)}, {"lab1": ["3072 MiB of memory instead of 1024 MiB"]}),
        ({"lab3": ("192.0.2.3", 2, 1024)}, {"lab3": ["not registered; it should be ALIVE"]}),
    ],
)
def test_differences(state, expected, wrong):
    found = spark_master.differences(state, {**GOOD, **expected})
    assert found == wrong


def test_a_dead_worker(state):
    dead = [{**w, "state": "DEAD"} for w in DOCUMENT["workers"]]
    found = spark_master.differences(spark_master.parse({**DOCUMENT, "workers": dead}), GOOD)
    assert found["lab1"] == ["the master knows it as DEAD; it should be ALIVE"]


def test_strangers_and_twins(state):
    twin = {**DOCUMENT["workers"][0], "id": "worker-2-lab1"}
    stranger = {**DOCUMENT["workers"][0], "id": "worker-9", "host": "attic"}
    workers = [*DOCUMENT["workers"], twin, stranger]
    found = spark_master.differences(spark_master.parse({**DOCUMENT, "workers": workers}), GOOD)
    assert found == {
        "lab1": ["registered 2 times"],
        "attic": ["a worker that the inventory does not have"],
    }
