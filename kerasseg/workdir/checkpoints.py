"""Checkpoints: every variable of a training state, written and restored."""

import contextlib
import errno
import glob
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.system import files

KEPT = 3  # Checkpoints of a run that stay on the disk.

_BACKUP = "before."  # Prefix of a checkpoint's files while it is written again.
# What an interrupted save may leave: a backup, the step, the kind, a temporary file.
_PART = re.compile(r"(before\.)?ckpt-(\d+)(_temp$|\.data-|\.index)(.*tempstate)?")


class Checkpoints:
    """Writes and restores every variable of a training state.

    The files are those of `tf.train.Checkpoint`: each is written under a temporary name
    and renamed, the index last, with a checksum for each tensor. There is no state file
    that could be lost: the newest index file is the newest checkpoint.

    Args:
        folder: Folder of the `ckpt-<step>` files.
        variables: Keras or TensorFlow variables by name.
        optional: Names of variables that older checkpoints may lack; they keep their
            values where a checkpoint does.
        writes: Whether this process may change the folder, as one of several may.
        io_device: Device whose machine reads and writes the files; None for the devices
            that hold the variables.

    Attributes:
        num_damaged: Checkpoints that `restore` skipped.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variables: Mapping[str, keras.Variable | tf.Variable],
        *,
        optional: Collection[str] = (),
        writes: bool = True,
        io_device: str | None = None,
    ):
        self.folder = os.fspath(folder)
        self._optional = optional
        self._writes = writes
        self.num_damaged = 0
        self._options = tf.train.CheckpointOptions(experimental_io_device=io_device)
        self._variables = {
            name: v.value if isinstance(v, keras.Variable) else v
            for name, v in variables.items()
        }
        self._checkpoint = tf.train.Checkpoint(variables=self._variables)

    def save(self, step: int) -> None:
        """Writes `ckpt-<step>` to the disk and removes the oldest checkpoints.

        Raises:
            OSError: It could not be written; earlier checkpoints are whole.
            tf.errors.UnavailableError: A machine that holds variables was lost.
        """
        if not self._writes:
            return
        path = self._path(step)
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._back_up(step)
            self._checkpoint.write(path, self._options)
            for name in [*self._files(step), self.folder]:
                files.sync(name)
            self._remove(step, _BACKUP)
        except tf.errors.UnavailableError:  # Of another machine, not of the disk.
            raise
        except (OSError, tf.errors.OpError) as error:
            raise self._not_written(step, error) from error
        for old in self.steps()[:-KEPT]:
            self._remove(old)

    def restore(self) -> int | None:
        """Restores the newest whole checkpoint.

        Later ones, which cannot be read, are renamed to `damaged.ckpt-<step>`.

        Returns:
            Its step; None where there is no checkpoint at all.

        Raises:
            errors.UserError: There are checkpoints, and none can be read: a run never
                starts from scratch over them.
            tf.errors.UnavailableError: See `save`.
        """
        if self._writes:
            self._restore_backups()
            self._clean_up()
        reasons = []
        for step in reversed(self.steps()):
            try:
                status = self._reader(step).read(self._path(step), self._options)
                status.assert_existing_objects_matched()
            except tf.errors.UnavailableError:  # See `save`.
                raise
            except Exception as error:  # Of whatever kind TensorFlow's readers raise.
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
                f"No checkpoint in {self.folder} can be read ({'; '.join(reasons)}). "
                f"Give another `workdir`, or remove that folder to start from scratch."
            )
        return None

    def _reader(self, step):
        """Returns a checkpoint object without the optional variables that are missing.

        They are found by their names in the file, in which TensorFlow escapes slashes.
        """
        if not self._optional:
            return self._checkpoint
        stored = tf.train.load_checkpoint(self._path(step))
        keys = {key.replace(".S", "/") for key in stored.get_variable_to_shape_map()}
        found = {
            name: variable
            for name, variable in self._variables.items()
            if name not in self._optional
            or f"variables/{name}/.ATTRIBUTES/VARIABLE_VALUE" in keys
        }
        return tf.train.Checkpoint(variables=found)

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints in the folder, in order."""
        return self._steps("")

    def _steps(self, prefix):
        pattern = os.path.join(glob.escape(self.folder), f"{prefix}ckpt-*.index")
        matches = (
            re.search(r"ckpt-(\d+)\.index$", name) for name in glob.glob(pattern)
        )
        return sorted(int(match[1]) for match in matches if match)

    def _not_written(self, step, error):
        """Returns the error of a failed save, after removing its parts."""
        with contextlib.suppress(OSError):
            self._restore_backups()
            self._clean_up()
        before = self.steps()
        whole = f"ckpt-{before[-1]} is whole" if before else "there is none before it"
        reason = str(error).strip().partition("\n")[0]
        return OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"The checkpoint of step {step} could not be written to {self.folder}: "
            f"{reason}; {whole}. Free disk space there, and give the same flags to "
            f"resume",
        )

    def _back_up(self, step):
        """Copies a checkpoint that is written again: its files change one by one.

        A step is saved twice where a signal interrupted its validation.
        """
        for path in self._files(step):
            copy = os.path.join(self.folder, _BACKUP + os.path.basename(path))
            with files.open_file(copy) as target, open(path, "rb") as source:
                shutil.copyfileobj(source, target)

    def _restore_backups(self):
        """Restores backups whose replacement was not completed."""
        for step in self._steps(_BACKUP):
            for path in self._files(step, _BACKUP):
                name = os.path.basename(path).removeprefix(_BACKUP)
                os.replace(path, os.path.join(self.folder, name))

    def _clean_up(self):
        """Removes what a killed save left: backups, and parts without an index."""
        steps = set(self.steps())
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*ckpt-*")):
            part = _PART.match(os.path.basename(path))
            if not part:
                continue
            backup, step, kind, temporary = part.groups()
            if int(step) in steps and not (backup or temporary or kind == "_temp"):
                continue
            if kind == ".data-" and not (backup or temporary):
                logging.warning("%s has no index: not a checkpoint, removed", path)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def _remove(self, step, prefix=""):
        # The index first: data without an index are not a checkpoint.
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
