"""Pictures side by side: in threads, or in processes for what holds Python's lock."""

import collections
import collections.abc
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
from concurrent import futures
from multiprocessing import connection

# A worker keeps what it freed for its next call: large arrays, taken from the system
# anew each time, cost a tenth of a dense CRF's time. Read by glibc, else by nobody.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
_PROGRAM = (
    "import sys; from kerasseg.system import processes; "
    "processes.serve(int(sys.argv[1]))"
)


def num_cores() -> int:
    """Counts the processor cores that this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(function, items, *, num_threads: int) -> collections.abc.Iterator:
    """Calls `function(item)` in threads and yields the results in the items' order.

    The items are taken in the caller's thread, when a result is asked for, and only
    so far ahead that every thread has work: large items need little memory.
    """
    waiting: collections.deque[futures.Future] = collections.deque()
    with futures.ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Processes:
    """Calls a function in other processes, each busy with one call; a context manager.

    They start when they are needed, and load the function's own module and never the
    program: those of `multiprocessing` would each start TensorFlow. May be called from
    several threads at once, which then wait for a free process.

    Args:
        function: A function of a module, or a `functools.partial` of one.
        num_processes: At most.
        seconds: A call that takes longer is ended, with its process; None for never.
    """

    def __init__(self, function, num_processes: int, *, seconds: float | None = None):
        self._function, self._seconds = function, seconds
        # The last one in is the first one out: started ones before new ones.
        self._free: queue.LifoQueue = queue.LifoQueue()
        self._busy: set = set()
        for _ in range(num_processes):
            self._free.put(None)

    def __call__(self, *arguments):
        """Returns what the function returns, or raises what it raises.

        Raises:
            ChildProcessError: The process died.
            TimeoutError: It took too long.
        """
        worker, busy = self._free.get(), None
        try:
            worker = busy = worker or _Worker()
            self._busy.add(busy)
            good, result = worker.call(self._function, arguments, self._seconds)
        except TimeoutError:
            worker.stop()
            worker = None
            raise
        except (EOFError, ConnectionError) as error:
            status, worker = worker.stop(), None
            raise ChildProcessError(
                f"A worker process died with status {status}, maybe killed for want of "
                f"memory. Try again with smaller pictures or more memory."
            ) from error
        finally:
            self._busy.discard(busy)
            self._free.put(worker)
        if not good:
            raise result
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in list(self._busy):
            worker.kill()  # Who waits for its answer is told that it died.
        while not self._free.empty():
            worker = self._free.get()
            if worker is not None:
                worker.stop()


class _Worker:
    def __init__(self):
        self._line, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    **_KEEP_MEMORY,
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )

    def call(self, function, arguments, seconds):
        _send(self._line, (function, arguments))
        if not self._line.poll(seconds):
            raise TimeoutError(f"A worker process took more than {seconds} seconds.")
        return _receive(self._line)

    def kill(self):
        self._process.kill()  # It holds nothing that could be lost.

    def stop(self):
        self._line.close()
        self.kill()
        return self._process.wait()


def serve(descriptor: int) -> None:
    """Answers calls in a worker process until the other end of the line is closed.

    Args:
        descriptor: File descriptor of the line.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent.
    line = connection.Connection(descriptor)
    try:
        while True:
            _send(line, _answer(*_receive(line)))
    except (EOFError, ConnectionError):
        return


def _send(line, value):
    """Sends arrays as they lie in memory, without copies on the way."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    line.send((data, [part.nbytes for part in raw]))
    for part in raw:
        line.send_bytes(part)


def _receive(line):
    data, sizes = line.recv()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        line.recv_bytes_into(buffer)
    return pickle.loads(data, buffers=buffers)


def _answer(function, arguments):
    try:
        return True, function(*arguments)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # An error that cannot travel: its text can.
            return False, RuntimeError(f"{type(error).__name__}: {error}")
        return False, error
