"""Every variable of a training run, written and restored."""

import glob
import logging
import os
import re
import shutil

import keras
import tensorflow as tf

from kerasseg import durable

KEPT = 3  # Checkpoints of a run that stay on the disk.


class Checkpoints:
    """Writes and restores every variable of a training run.

    The files are those of `tf.train.Checkpoint`: each is written aside and renamed,
    the index last, with a checksum for each tensor. There is no state file that could
    be lost: the newest index file is the newest checkpoint.

    Args:
        folder: Where `ckpt-<step>` files are.
        variables: Dict of names to Keras or TensorFlow variables.
    """

    def __init__(self, folder, variables):
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(
            variables={
                name: v.value if isinstance(v, keras.Variable) else v
                for name, v in variables.items()
            }
        )

    def save(self, step) -> str:
        """Writes `ckpt-<step>`, sees it to the disk and removes the oldest ones."""
        os.makedirs(self.folder, exist_ok=True)
        path = self._checkpoint.write(self._path(step))
        for name in [*glob.glob(f"{glob.escape(path)}.*"), self.folder]:
            durable.sync(name)
        for old in self.steps()[:-KEPT]:
            self._remove(old)
        return path

    def restore(self) -> int | None:
        """Restores the newest checkpoint that is whole.

        Returns:
            Its step; None where there is no checkpoint at all.

        Raises:
            ValueError: Checkpoints are there and none can be read: a run never
                starts from scratch over them.
        """
        reasons = []
        for step in reversed(self.steps()):
            try:
                status = self._checkpoint.read(self._path(step))
                status.assert_existing_objects_matched()
            except (tf.errors.OpError, AssertionError, ValueError) as error:
                reasons.append(f"ckpt-{step}: {str(error).strip().splitlines()[0]}")
                logging.warning("A checkpoint cannot be read, %s", reasons[-1])
                continue
            for newer in self.steps():
                if newer > step:
                    self._remove(newer)
            self._sweep()
            return step
        if reasons:
            raise ValueError(
                f"No checkpoint of {self.folder} can be read ({'; '.join(reasons)}). "
                f"Take another --workdir, or remove that folder to start again."
            )
        return None

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints in the folder, in order."""
        found = glob.glob(os.path.join(glob.escape(self.folder), "ckpt-*.index"))
        matches = (re.search(r"ckpt-(\d+)\.index$", name) for name in found)
        return sorted(int(match[1]) for match in matches if match)

    def _sweep(self):
        """Removes what a killed save left: parts without an index."""
        known = {f"ckpt-{step}" for step in self.steps()}
        for path in glob.glob(os.path.join(glob.escape(self.folder), "ckpt-*")):
            if os.path.basename(path).split(".")[0] not in known:
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def _remove(self, step):
        # The index first: data without an index is no checkpoint.
        for path in sorted(glob.glob(f"{glob.escape(self._path(step))}.*"))[::-1]:
            os.remove(path)

    def _path(self, step):
        return os.path.join(self.folder, f"ckpt-{step}")
