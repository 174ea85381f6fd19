"""Runs a module of the tests on JAX, in a separate process."""

import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]
# Without them, optimizing code that runs once takes minutes and gigabytes.
_XLA_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false"
)


def run(module, folder):
    """Runs `python -m module folder`; returns its exit status and output."""
    for flags in (_XLA_FLAGS, ""):
        backend = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder)],
            cwd=_ROOT,
            env={**os.environ, **backend},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if "Unknown flag" not in output:
            break  # Otherwise this version of XLA does not have the flags.
    return done.returncode, output
