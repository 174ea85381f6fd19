"""Every variable of a training run, written and restored."""

import contextlib
import errno
import glob
import logging
import os
import re
import shutil

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.system import files

KEPT = 3  # Checkpoints of a run that stay on the disk.

_BEFORE = "before."  # Of the files of a checkpoint while it is written once more.
# What a save may leave: a copy, the step, what it is, and whether it is unfinished.
_PART = re.compile(r"(before\.)?ckpt-(\d+)(_temp$|\.data-|\.index)(.*tempstate)?")


def named(groups) -> dict:
    """Names the variables of each group by their order and path.

    Args:
        groups: Dict of names to Keras variables.
    """
    return {
        f"{group}/{i:05d}/{variable.path}": variable
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


class Checkpoints:
    """Writes and restores every variable of a training run.

    The files are those of `tf.train.Checkpoint`: each is written aside and renamed,
    the index last, with a checksum for each tensor. There is no state file that could
    be lost: the newest index file is the newest checkpoint.

    Args:
        folder: Where `ckpt-<step>` files are.
        variables: Dict of names to Keras or TensorFlow variables.
        writes: Whether this process may change the folder: one of several may.
        io_device: Device whose machine reads and writes the files; None: those that
            hold the variables.

    Attributes:
        num_damaged: Checkpoints that `restore` passed over.
    """

    def __init__(self, folder, variables, *, writes=True, io_device=None):
        self.folder = folder
        self._writes = writes
        self.num_damaged = 0
        self._options = tf.train.CheckpointOptions(experimental_io_device=io_device)
        self._checkpoint = tf.train.Checkpoint(
            variables={
                name: v.value if isinstance(v, keras.Variable) else v
                for name, v in variables.items()
            }
        )

    def save(self, step) -> None:
        """Writes `ckpt-<step>`, sees it to the disk and removes the oldest ones.

        Raises:
            OSError: It could not be written; those before are whole.
            tf.errors.UnavailableError: A machine that holds variables is lost.
        """
        if not self._writes:
            return
        path = self._path(step)
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._copy(step)
            self._checkpoint.write(path, self._options)
            for name in [*self._files(step), self.folder]:
                files.sync(name)
            self._remove(step, _BEFORE)
        except tf.errors.UnavailableError:  # Of another machine, not of the disk.
            raise
        except (OSError, tf.errors.OpError) as error:
            raise self._not_written(step, error) from error
        for old in self.steps()[:-KEPT]:
            self._remove(old)

    def restore(self) -> int | None:
        """Restores the newest checkpoint that is whole.

        Those after it, which cannot be read, are renamed to `damaged.ckpt-<step>`.

        Returns:
            Its step; None where there is no checkpoint at all.

        Raises:
            ValueError: Checkpoints are there and none can be read: a run never
                starts from scratch over them.
            tf.errors.UnavailableError: See `save`.
        """
        if self._writes:
            self._bring_back()
            self._sweep()
        reasons = []
        for step in reversed(self.steps()):
            try:
                status = self._checkpoint.read(self._path(step), self._options)
                status.assert_existing_objects_matched()
            except tf.errors.UnavailableError:  # See `save`.
                raise
            except Exception as error:  # TensorFlow raises what its readers raise.
                reason = str(error).strip().partition("\n")[0] or repr(error)
                reasons.append(f"ckpt-{step}: {reason}")
                logging.warning("A checkpoint cannot be read, %s", reasons[-1])
                continue
            for newer in self.steps() if self._writes else ():
                if newer > step:
                    self._set_aside(newer)
            self.num_damaged = len(reasons)
            return step
        if reasons:
            raise errors.UserError(
                f"No checkpoint of {self.folder} can be read ({'; '.join(reasons)}). "
                f"Take another `workdir`, or remove that folder to start again."
            )
        return None

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints in the folder, in order."""
        return self._steps("")

    def _steps(self, prefix):
        pattern = os.path.join(glob.escape(self.folder), f"{prefix}ckpt-*.index")
        found = (re.search(r"ckpt-(\d+)\.index$", name) for name in glob.glob(pattern))
        return sorted(int(match[1]) for match in found if match)

    def _not_written(self, step, error):
        """Describes a checkpoint that could not be written, and removes its parts."""
        with contextlib.suppress(OSError):
            self._bring_back()
            self._sweep()
        before = self.steps()
        whole = f"ckpt-{before[-1]} is whole" if before else "there is none before it"
        reason = str(error).strip().partition("\n")[0]
        return OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"The checkpoint of step {step} could not be written to {self.folder}: "
            f"{reason}; {whole}. Make room there, and give the same flags to go on",
        )

    def _copy(self, step):
        """Copies a checkpoint that is written once more: its files change one by one.

        A step has a second one where a signal had cut short its validation.
        """
        for path in self._files(step):
            copy = os.path.join(self.folder, _BEFORE + os.path.basename(path))
            with files.open_file(copy) as target, open(path, "rb") as source:
                shutil.copyfileobj(source, target)

    def _bring_back(self):
        """Puts copies back, where what was to replace the files came to no end."""
        for step in self._steps(_BEFORE):
            for path in self._files(step, _BEFORE):
                name = os.path.basename(path).removeprefix(_BEFORE)
                os.replace(path, os.path.join(self.folder, name))

    def _sweep(self):
        """Removes what a killed save left: copies, and parts without an index."""
        steps = set(self.steps())
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*ckpt-*")):
            part = _PART.match(os.path.basename(path))
            if not part:
                continue
            copy, step, kind, unfinished = part.groups()
            if int(step) in steps and not (copy or unfinished or kind == "_temp"):
                continue
            if kind == ".data-" and not (copy or unfinished):
                logging.warning("%s lacks its index: no checkpoint, removed", path)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def _remove(self, step, prefix=""):
        # The index first: data without an index is no checkpoint.
        for path in self._files(step, prefix)[::-1]:
            os.remove(path)

    def _set_aside(self, step):
        for path in self._files(step):
            os.replace(
                path, os.path.join(self.folder, f"damaged.{os.path.basename(path)}")
            )

    def _files(self, step, prefix=""):
        """Lists the files of a checkpoint, the index last."""
        path = os.path.join(self.folder, f"{prefix}ckpt-{step}.")
        return sorted(glob.glob(f"{glob.escape(path)}*"))

    def _path(self, step):
        return os.path.join(self.folder, f"ckpt-{step}")
