"""Compares a network of PyTorch with the one that its file of weights gives here.

Both compute in float64, except the first and the last layer here: with random weights,
the rounding errors of float32 alone reach 3e-4 of the spread, in PyTorch as well.
"""

import keras
import numpy as np
import torch

from kerasseg.models import imported
from kerasseg.weights import families, files

MEAN = np.array([123.675, 116.28, 103.53], "float32")
DEVIATION = np.array([58.395, 57.12, 57.375], "float32")
SIZES = ((97, 129), (224, 160), (128, 128))
LIMIT = 1e-4  # Of the spread: the standard deviation after each channel's mean.


def images(sizes=SIZES, seed=7):
    """Smooth images with noise, float32 `[1, height, width, 3]` from 0 to 255."""
    rng = np.random.default_rng(seed)
    for height, width in sizes:
        small = rng.uniform(0, 255, (1, 3, height // 12 + 2, width // 12 + 2))
        smooth = torch.nn.functional.interpolate(
            torch.tensor(small), (height, width), mode="bicubic"
        )
        noise = rng.normal(0, 20, (1, height, width, 3))
        image = smooth.numpy().transpose(0, 2, 3, 1) + noise
        yield np.clip(image, 0, 255).round().astype("float32")


def randomize(network, seed=0, size=(129, 161)):
    """Calibrates batch norms on a batch, then disturbs statistics and biases.

    With initial weights alone, values would explode or vanish with depth.
    """
    generator = torch.Generator().manual_seed(seed)

    def around(center, width, like):
        return center + width * (torch.rand(like.shape, generator=generator) - 0.5)

    norms = []
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = 1.0
            norms.append(module)
        elif isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    network.train()
    with torch.no_grad():
        network(to_torch(np.concatenate(list(images((size, size), seed)))))
        for norm in norms:
            mean, variance = norm.running_mean, norm.running_var
            mean += variance.sqrt() * around(0, 0.1, mean)
            variance *= around(1, 0.4, variance)
            if norm.affine:
                norm.weight.copy_(around(1, 0.4, norm.weight))
                norm.bias.copy_(around(0, 0.2, norm.bias))
    return network.eval()


def to_torch(image, mean=MEAN, deviation=DEVIATION):
    """Normalizes an image, and moves its channels to the front."""
    return torch.tensor(((image - mean) / deviation).transpose(0, 3, 1, 2))


def outputs_of(network, image, mean=MEAN, deviation=DEVIATION):
    """Runs a network of PyTorch in float64; returns its results, channels last."""
    with torch.no_grad():
        result = network.double()(to_torch(image, mean, deviation).double())
    if not isinstance(result, dict):
        result = {"out": result}
    return {key: maps.numpy().transpose(0, 2, 3, 1) for key, maps in result.items()}


def load(path, config=None, **options):
    """Builds our network of a file, by name rules only; also returns the `Network`.

    It computes in float64.
    """
    arrays = files.read(path)
    shapes = {name: array.shape for name, array in arrays.items()}
    network = families.recognize(shapes, config, **options)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        return imported.build(arrays, network), network
    finally:
        keras.config.set_dtype_policy(before)


def difference(ours, theirs):
    """Returns the largest difference as a fraction of the spread of `theirs`."""
    theirs = np.asarray(theirs, "float64")
    assert ours.shape == theirs.shape
    spread = (theirs - theirs.mean((0, 1, 2))).std()
    assert spread > 1e-3  # Otherwise the network is constant, and the test void.
    return float(np.abs(np.asarray(ours, "float64") - theirs).max() / spread)
