"""Others in Python, for `firesteel bench --peers`: one JSON line in, one out (src/bench/peers/child.ts)."""

import json
import os
import sys
import time

DTYPES = {"f32": "<f4", "f64": "<f8", "i32": "<i4", "u8": "u1", "bf16": "<u2", "f16": "<f2"}

LIBRARIES = [("numpy", "numpy", "numpy_peer"), ("PyTorch", "torch", "torch_peers")]


def whole(numpy, entry):
    """The array of a file, as often as it stands there; bf16 as its bits."""
    part = numpy.fromfile(entry["file"], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    repeats = [entry["repeat"]] + [1] * (part.ndim - 1)
    return numpy.tile(part, repeats)


def sample_times(call, samples, budgetMs, sampleMs=10):
    def sample(calls):
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        sync()
        return (time.perf_counter() - begun) * 1e3

    sync = getattr(call, "sync", lambda: None)
    sample(1)
    one = min(sample(1), sample(1))
    # What takes seconds needs no repetition to be seen.
    if one > 2000:
        return [one]
    calls = max(1, round(sampleMs / one + 0.5))
    times = []
    begun = time.perf_counter()
    while len(times) < samples:
        if len(times) >= 3 and (time.perf_counter() - begun) * 1e3 > budgetMs:
            break
        times.append(sample(calls) / calls)
    return times


class Peers:
    """What the requests do; a library offers name -> tasks, a task makes `call` and `values`."""

    def __init__(self):
        self.tasks = {}
        self.prepared = None

    def hello(self):
        missing = []
        for name, package, module in LIBRARIES:
            try:
                peers, more = __import__(module).open_peers()
                self.tasks.update(peers)
                missing += more
            except ImportError as error:
                python = os.environ.get("FIRESTEEL_PYTHON", "python3")
                missing.append({"name": name, "reason": f"{error}; {python} -m pip install {package}"})
        return {"peers": list(self.tasks), "missing": missing}

    def prepare(self, peer, task, dtype, device, threads, sizes, inputs, copies):
        make = self.tasks[peer]
        import numpy

        arrays = {name: (whole(numpy, entry), entry["dtype"]) for name, entry in inputs.items()}
        self.prepared = make(task, dtype, device, threads, sizes, arrays, copies)
        if self.prepared is None:
            return {"values": None}
        values = self.prepared.values()
        return {"values": {name: [float(x) for x in value] for name, value in values.items()}}

    def time(self, **options):
        return {"ms": sample_times(self.prepared.call, **options)}

    def release(self):
        self.prepared = None
        return {}


def main():
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not a reply
    peers = Peers()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": True, **getattr(peers, request.pop("op"))(**request)}
        except Exception as error:  # noqa: BLE001: whatever it is, the bench says so and goes on
            text = str(error).strip().split("\n")[0]
            answer = {"ok": False, "error": f"{type(error).__name__}: {text}"}
        out.write(json.dumps(answer) + "\n")


main()
