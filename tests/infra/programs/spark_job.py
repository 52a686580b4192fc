"""A small real job: write to the storage, read it back on every worker at once, tell who did it.

Arguments: the number of workers, a URI that does not exist yet. The last line of standard output
is JSON. It takes one core of each worker, so that it also runs beside a training.
"""

import json
import socket
import sys
import time

from pyspark import SparkConf, SparkContext

workers, uri = int(sys.argv[1]), sys.argv[2]
LINES = 1000  # per worker

settings = {
    "spark.app.name": "mammoctl verify",
    "spark.cores.max": workers,
    "spark.executor.cores": 1,
    "spark.executor.memory": "480m",
    "spark.ui.enabled": "false",
    # Nothing starts before every worker has given its executor.
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "20",
}
conf = SparkConf()
for name, value in settings.items():
    conf.set(name, str(value))
began = time.time()
sc = SparkContext(conf=conf)
ready = time.time()


def read(lines):
    """Count what this task reads; all tasks run at the same time, one per executor."""
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    numbers = [int(line) for line in lines]
    context.barrier()
    yield {
        "host": socket.gethostname(),
        "lines": len(numbers),
        "sum": sum(numbers),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }


jvm = sc._jvm
path = jvm.org.apache.hadoop.fs.Path(uri)
files = path.getFileSystem(sc._jsc.hadoopConfiguration())
try:
    sc.parallelize(range(workers * LINES), workers).saveAsTextFile(uri)
    tasks = sc.textFile(uri, 1).barrier().mapPartitions(read).collect()
finally:
    files.delete(path, True)
print(
    json.dumps(
        {
            "application": sc.applicationId,
            "tasks": tasks,
            "expected_lines": workers * LINES,
            "expected_sum": sum(range(workers * LINES)),
            "seconds": {"start": round(ready - began, 1), "job": round(time.time() - ready, 1)},
        }
    )
)
sc.stop()
