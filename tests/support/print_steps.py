"""python -m kerasseg.train that prints "step N" after each, for tests that kill it."""

import keras

from kerasseg import cli, train

_on_train_batch_end = keras.callbacks.CallbackList.on_train_batch_end


def print_step(self, batch, logs=None):
    """Prints the number of a step whose loss was checked."""
    _on_train_batch_end(self, batch, logs)
    print(f"step {batch + 1}", flush=True)


if __name__ == "__main__":
    keras.callbacks.CallbackList.on_train_batch_end = print_step
    cli.run(train.main)
