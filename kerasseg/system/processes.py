"""Parallel calls: in threads, or in processes for functions that hold the GIL."""

import collections
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from multiprocessing import connection

# Settings of glibc: a worker keeps freed memory for its next call. Allocating large
# arrays from the system again each time takes a tenth of the time of a dense CRF.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
_PROGRAM = (
    "import sys; from kerasseg.system import processes; "
    "processes.serve(int(sys.argv[1]))"
)


def num_cores() -> int:
    """Returns the number of processor cores that this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(function: Callable, items: Iterable, *, num_threads: int) -> Iterator:
    """Calls `function(item)` in threads and yields the results in the order of items.

    Items are taken in the thread of the caller, when the next result is requested, and
    only as many as the threads need, to save memory if they are large.
    """
    pending: collections.deque[futures.Future] = collections.deque()
    with futures.ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class Processes:
    """Calls a function in worker processes; a context manager.

    Workers start when they are needed. They import the module of the function but not
    the main program, with which those of `multiprocessing` would each start TensorFlow.
    May be called from several threads, which then wait for a free worker.

    Args:
        function: A function of a module, or a `functools.partial` of one.
        num_processes: Maximum number of workers.
        seconds: Time limit of a call, after which its worker is killed; None for no
            limit.
    """

    def __init__(
        self,
        function: Callable,
        num_processes: int,
        *,
        seconds: float | None = None,
    ):
        self._function, self._seconds = function, seconds
        # Last in, first out: running workers are used before new ones are started.
        self._free: queue.LifoQueue = queue.LifoQueue()
        self._busy: set = set()
        for _ in range(num_processes):
            self._free.put(None)

    def __call__(self, *arguments):
        """Calls the function and returns its result.

        Raises:
            ChildProcessError: The worker died.
            TimeoutError: The call took longer than `seconds`.
            Exception: The function raised it.
        """
        worker, busy = self._free.get(), None
        try:
            worker = busy = worker or _Worker()
            self._busy.add(busy)
            succeeded, result = worker.call(self._function, arguments, self._seconds)
        except TimeoutError:
            worker.stop()
            worker = None
            raise
        except (EOFError, ConnectionError) as error:
            status, worker = worker.stop(), None
            raise ChildProcessError(
                f"A worker process died with status {status}, possibly because it ran "
                f"out of memory. Try again with smaller images or more memory."
            ) from error
        finally:
            self._busy.discard(busy)
            self._free.put(worker)
        if not succeeded:
            raise result
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in list(self._busy):
            worker.kill()  # The thread that waits for it gets a ChildProcessError.
        while not self._free.empty():
            worker = self._free.get()
            if worker is not None:
                worker.stop()


class _Worker:
    def __init__(self):
        self._pipe, workers_end = multiprocessing.Pipe()
        with workers_end:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(workers_end.fileno())],
                pass_fds=[workers_end.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    **_KEEP_MEMORY,
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )

    def call(self, function, arguments, seconds):
        _send(self._pipe, (function, arguments))
        if not self._pipe.poll(seconds):
            raise TimeoutError(f"A worker process took more than {seconds} seconds.")
        return _receive(self._pipe)

    def kill(self):
        self._process.kill()  # It has no state that could be lost.

    def stop(self):
        self._pipe.close()
        self.kill()
        return self._process.wait()


def serve(descriptor: int) -> None:
    """Serves calls in a worker process until the other end of the pipe is closed.

    Args:
        descriptor: File descriptor of the pipe.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # The parent handles them.
        signal.signal(number, signal.SIG_IGN)
    pipe = connection.Connection(descriptor)
    try:
        while True:
            _send(pipe, _result(*_receive(pipe)))
    except (EOFError, ConnectionError):
        return


def _send(pipe, value):
    """Sends an object; the memory of arrays is sent as it is, without copies."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    pipe.send((data, [part.nbytes for part in raw]))
    for part in raw:
        pipe.send_bytes(part)


def _receive(pipe):
    data, sizes = pipe.recv()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        pipe.recv_bytes_into(buffer)
    return pickle.loads(data, buffers=buffers)


def _result(function, arguments):
    """Returns whether the call succeeded, and its result or its error."""
    try:
        return True, function(*arguments)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # The error cannot be pickled, but its text can.
            return False, RuntimeError(f"{type(error).__name__}: {error}")
        return False, error
