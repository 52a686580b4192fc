"""Import what the training needs and print versions and GPUs as JSON. Arguments: modules."""

import importlib
import importlib.metadata
import json
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())

modules = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        modules[name] = {"version": str(getattr(module, "__version__", ""))}
        if getattr(module, "__file__", None) is None:  # a folder without code imports too
            modules[name] = {"error": "ImportError: its files are missing"}
    except Exception as error:  # whatever it is, it belongs in the report
        modules[name] = {"error": f"{type(error).__name__}: {str(error).strip()[-300:]}"}

gpus = None
if "tensorflow" in modules and "error" not in modules["tensorflow"]:
    import tensorflow

    gpus = len(tensorflow.config.list_physical_devices("GPU"))

print(
    json.dumps(
        {
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
            "prefix": os.path.realpath(sys.prefix),
            "modules": modules,
            "gpus": gpus,
            "installed": {
                d.metadata["Name"]: d.version for d in importlib.metadata.distributions()
            },
        }
    )
)
