"""Checks batch norm of steps on two devices; run by test_batch_norm.py."""

import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)

from tests.training import test_batch_norm  # noqa: E402


def step_of(strategy, images, micro_batches, **options):
    """Returns a step in the strategy's scope and its distributed batch."""
    with strategy.scope():
        step = test_batch_norm.Step(
            test_batch_norm.tiny_network(**options),
            train_batch_size=images,
            gradient_accumulation_steps=micro_batches,
        )
    batch = test_batch_norm.batch(images)
    half = images // 2

    def part(context):
        i = context.replica_id_in_sync_group
        return {key: value[i * half : (i + 1) * half] for key, value in batch.items()}

    values = strategy.experimental_distribute_values_from_function(part)
    return step, batch, values


def main():
    """Compares the averages with those of one device, in float64."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for images, micro_batches in ((8, 2), (4, 2), (8, 1)):
        step, batch, values = step_of(strategy, images, micro_batches)
        x = step.state.model.get_layer("encoder")(
            tf.cast(batch["image"], "float32")
        ).numpy()
        x = x.astype("float64")
        assert bool(step(values).updated)
        norm = step.state.model.get_layer("norm")
        mean, variance = 0.1 * x.mean((0, 1, 2)), 0.9 + 0.1 * x.var((0, 1, 2))
        np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)
    # Two devices with an image each have two values; they are not refused.
    step, _, values = step_of(strategy, 2, 1, pool=True)
    assert bool(step(values).updated)


if __name__ == "__main__":
    main()
