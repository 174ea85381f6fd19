"""Parallel calls: in threads, or in processes for functions that hold the GIL."""

import collections
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from multiprocessing import connection

# Settings of glibc: a worker keeps freed memory for its next call. Allocating large
# arrays from the system again each time takes a tenth of the time of a dense CRF.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
_START_SECONDS = 5.0  # A worker takes one or two.
_OUTPUT_BYTES = 2**16
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


class WorkerDiedError(ChildProcessError):
    """A worker process died during a call.

    Attributes:
        status: Its exit status; negative for the signal that killed it.
    """

    def __init__(self, status: int):
        super().__init__(
            f"A worker process died with status {status}, possibly because it ran "
            f"out of memory. Try again with smaller images or more memory."
        )
        self.status = status


class Processes:
    """Calls a function in worker processes; a context manager.

    Workers start when they are needed. They import the module of the function but not
    the main program, with which those of `multiprocessing` would each start TensorFlow.
    May be called from several threads, which then wait for a free worker.

    A worker that dies is reaped at once. If it died before it received its call, the
    call is repeated with another one.

    Args:
        function: A function of a module, or a `functools.partial` of one.
        num_processes: Maximum number of calls at once.
        seconds: Time limit of a call, after which its worker is killed; None for no
            limit.
        num_spares: After `start`, this number of further workers is kept, so that no
            call waits for the start of a worker that replaces a dead one.
        on_output: Called with what workers write to standard error, from several
            threads; None: it is written to that of this program.
    """

    def __init__(
        self,
        function: Callable,
        num_processes: int,
        *,
        seconds: float | None = None,
        num_spares: int = 0,
        on_output: Callable[[bytes], object] | None = None,
    ):
        self._function, self._seconds = function, seconds
        self._on_output = on_output
        self._slots = threading.Semaphore(num_processes)
        self._num_kept, self._num_spares = num_processes + num_spares, num_spares
        # Last in, first out: running workers are used before new ones are started.
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._starting = threading.RLock()  # One thread at a time starts spare ones.
        self._keeping = self._closed = False

    def start(self) -> None:
        """Starts all workers and the spare ones, and keeps them."""
        self._keeping = True
        self._replenish()

    @property
    def num_workers(self) -> int:
        """Number of running workers."""
        return len(self._workers)

    @property
    def pids(self) -> list[int]:
        """Ids of the running workers."""
        with self._lock:
            return [worker.pid for worker in self._workers]

    def __call__(self, *arguments):
        """Calls the function and returns its result.

        Raises:
            WorkerDiedError: The worker died.
            TimeoutError: The call took longer than `seconds`.
            Exception: The function raised it.
        """
        with self._slots:
            try:
                succeeded, result = self._call(self._take(), arguments)
            except _NotReceivedError:  # It was killed while it was idle.
                succeeded, result = self._call(self._start_worker(), arguments)
        if self._keeping:  # Workers can start: this one has.
            self._replenish()
        if not succeeded:
            raise result
        return result

    def _call(self, worker, arguments):
        try:
            result = worker.call(self._function, arguments, self._seconds)
        except TimeoutError:
            worker.stop()
            raise
        except (EOFError, ConnectionError) as error:
            status = worker.stop()
            kind = WorkerDiedError if worker.received else _NotReceivedError
            raise kind(status) from error
        except Exception:  # Arguments that cannot be pickled.
            self._give_back(worker)
            raise
        self._give_back(worker)
        return result

    def _take(self):
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start_worker()

    def _start_worker(self, *, idle=False):
        worker = _Worker(self._on_output, self._on_death)
        with self._lock:
            self._workers.add(worker)
            if idle:
                self._idle.insert(0, worker)  # Those that have started go first.
            closed = self._closed
        if closed or not worker.is_running():  # Before it was known.
            self._on_death(worker)
            worker.kill()
        return worker

    def _give_back(self, worker):
        with self._lock:
            superfluous = len(self._workers) > self._num_kept
            if worker in self._workers and not superfluous:
                self._idle.append(worker)
        if superfluous:
            worker.stop()

    def _on_death(self, worker):
        """Forgets a worker, and starts another one if they are kept."""
        with self._lock:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
        if self._keeping and worker.has_worked():
            self._replenish()

    def _replenish(self):
        with self._starting:
            while not self._closed and len(self._workers) < self._num_kept:
                self._start_worker(idle=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._lock:
            self._closed = True
            workers = list(self._workers)
            self._idle.clear()
        for worker in workers:
            worker.kill()  # A thread that waits for it gets a WorkerDiedError.
            worker.join()


class _NotReceivedError(WorkerDiedError):
    """The worker died before it had received the call."""


class _Worker:
    """One worker process, and a thread that reaps it.

    Args:
        on_output: See `Processes`.
        on_death: Method that is called with this object when the process has ended.
    """

    def __init__(self, on_output, on_death):
        self.received = False  # Whether it has begun the current call.
        self._pipe, workers_end = multiprocessing.Pipe()
        with workers_end:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(workers_end.fileno())],
                pass_fds=[workers_end.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE if on_output else None,
                env={
                    **_KEEP_MEMORY,
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )
        self._started = time.monotonic()
        self._num_calls = 0
        # Without a reference to this object: a worker that nobody uses ends.
        threading.Thread(
            target=_reap,
            args=(
                self._process,
                on_output,
                weakref.ref(self),
                weakref.WeakMethod(on_death),
            ),
            name="reaper",
            daemon=True,
        ).start()

    @property
    def pid(self):
        return self._process.pid

    def is_running(self):
        return self._process.poll() is None

    def has_worked(self):
        """Returns whether it can start; otherwise, another one would not, either."""
        return self._num_calls or time.monotonic() - self._started > _START_SECONDS

    def call(self, function, arguments, seconds):
        expired = threading.Event()

        def expire():
            expired.set()
            self.kill()

        # It ends what this thread waits for. A process that is stopped, or has no disk,
        # can also block sending, and stop in the middle of its result.
        timer = None if seconds is None else threading.Timer(seconds, expire)
        try:
            if timer is not None:
                timer.start()
            return self._exchange(function, arguments)
        except (EOFError, ConnectionError) as error:
            if expired.is_set():
                raise TimeoutError(
                    f"A worker process took more than {seconds} seconds."
                ) from error
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _exchange(self, function, arguments):
        self.received = False
        _send(self._pipe, (function, arguments))
        self._pipe.recv_bytes()  # See `serve`.
        self.received = True
        result = _receive(self._pipe)
        self._num_calls += 1
        return result

    def kill(self):
        self._process.kill()  # It has no state that could be lost.

    def join(self):
        return self._process.wait()

    def stop(self):
        self._pipe.close()
        self.kill()
        return self.join()


def _reap(process, on_output, worker, on_death):
    """Reads the output of a process until it ends, and reaps it."""
    if on_output is not None:
        with process.stderr as output:
            while part := output.read1(_OUTPUT_BYTES):
                on_output(part)
    process.wait()
    ended, callback = worker(), on_death()
    if ended is not None and callback is not None:
        callback(ended)


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
            call = _receive(pipe)
            pipe.send_bytes(b"")  # The call begins; what follows may be its fault.
            _send(pipe, _result(*call))
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
