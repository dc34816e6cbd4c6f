"""numpy: sgemm of the BLAS that it is built with, OpenBLAS in its own packages."""

from types import SimpleNamespace

import numpy


def open_peers():
    build = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    library = "OpenBLAS" if "openblas" in build["name"] else build["name"]
    return {f"numpy ({library})": prepare}, []


def prepare(task, dtype, device, threads, sizes, arrays, copies):
    if device != "cpu" or task not in ("matmul square", "matmul head"):
        return None
    a, b = (arrays[name][0] for name in ("a", "b"))
    if task == "matmul head":
        b = b.T
    return SimpleNamespace(
        call=lambda: a @ b,
        values=lambda: {"product": (a @ b)[:2].ravel()[:1000]},
    )
