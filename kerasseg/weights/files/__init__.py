"""Readers of weights that other programs saved, which create nothing but arrays.

`read` finds the format by the content. There is one module per format: `torch_legacy`,
`torch_zip`, `safetensors_file`, `shards`, `tf_checkpoint` and `keras_file`. What a file
claims is checked against its size before memory is allocated, and the functions that a
pickle names are never imported.
"""

from kerasseg.weights.files.arrays import MAX_BYTES, Weights
from kerasseg.weights.files.reading import read

__all__ = ["MAX_BYTES", "Weights", "read"]
