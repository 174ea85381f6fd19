"""Which devices a run uses."""

import tensorflow as tf


def strategy(name="auto") -> tf.distribute.Strategy:
    """Makes the strategy called `name`.

    Args:
        name: "one", "mirrored" (all GPUs, or all CPU devices where there is none), or
            "auto": mirrored where there are several GPUs.

    Raises:
        ValueError: Unknown name.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    raise ValueError(f"No strategy is called '{name}': auto, one, mirrored are known.")
