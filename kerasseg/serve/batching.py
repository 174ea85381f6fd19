"""Work of equal kind done together: one call of the network for several pictures."""

import asyncio
import dataclasses
import time
import typing
from concurrent import futures

from kerasseg.serve.refusals import Refusal


@dataclasses.dataclass(eq=False)
class _Item:
    function: typing.Any
    payload: typing.Any
    key: typing.Hashable
    weight: int
    result: asyncio.Future
    since: float
    started: bool = False


class Batcher:
    """Calls functions in one thread, with the waiting payloads of one key at a time.

    The oldest payload is always next, so none waits for ever. While a call runs others
    gather; only a lone payload waits `max_wait`.

    Args:
        max_size: Payloads of a call, at most.
        max_weight: Sum of their weights, at most; a single payload may be heavier.
        max_wait: Seconds that a payload waits for company.
        on_batch: Is told the number of payloads of each call.

    Attributes:
        computing: Whether a call is under way; Python ends no thread within one.
    """

    def __init__(self, max_size: int, max_weight: int, max_wait: float, on_batch=None):
        self._max_size, self._max_weight = max_size, max_weight
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._waiting: list[_Item] = []
        self._arrived = asyncio.Event()
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="network")
        self._task: asyncio.Task | None = None
        self.computing = False

    @property
    def num_waiting(self) -> int:
        """Payloads that no call has taken yet."""
        return len(self._waiting)

    async def submit(self, function, payload, *, key, weight: int, deadline: float):
        """Waits for the result of one payload.

        Args:
            function: Takes a list of payloads to a list of results; equal for equal
                keys.
            payload: What it is called with.
            key: Only payloads of equal keys share a call.
            weight: See `max_weight`.
            deadline: Time of the loop after which nobody waits for the result.

        Raises:
            Refusal: 429 or 504, the deadline is over.
            Exception: What the function raises for this payload by itself.
        """
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run())
        item = _Item(
            function, payload, key, weight, loop.create_future(), time.monotonic()
        )
        self._waiting.append(item)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await item.result
        except TimeoutError:
            raise _too_late(item.started) from None
        finally:
            item.result.cancel()  # If the caller went away: nobody computes it then.

    async def _run(self):
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch and len(batch) < self._max_size:
                left = batch[0].since + self._max_wait - time.monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                    batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            for item in batch:
                item.started = True
                self._waiting.remove(item)
            if self._on_batch:
                self._on_batch(len(batch))
            self.computing = True
            results = await loop.run_in_executor(self._thread, _call, batch)
            self.computing = False
            for item, (good, value) in zip(batch, results, strict=True):
                if item.result.done():
                    continue
                if good:
                    item.result.set_result(value)
                else:
                    item.result.set_exception(value)

    def _take(self):
        """Chooses the oldest payload and what may go with it."""
        self._waiting = [item for item in self._waiting if not item.result.done()]
        batch: list[_Item] = []
        weight = 0
        for item in self._waiting:
            if batch and (
                item.key != batch[0].key or weight + item.weight > self._max_weight
            ):
                continue
            batch.append(item)
            weight += item.weight
            if len(batch) == self._max_size:
                break
        return batch

    async def close(self) -> None:
        """Ends the thread; what waits is forgotten."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _too_late(started):
    if started:
        return Refusal(
            504, "The time was up while the request was computed; send less at once."
        )
    return Refusal(
        429,
        "The time was up while the request waited for its turn; try again later.",
        retry_after=1,
    )


def _call(batch):
    """Returns (True, result) or (False, error) of each; one may fail without others."""
    function = batch[0].function
    try:
        results = function([item.payload for item in batch])
        return [(True, result) for result in results]
    except Exception as error:
        if len(batch) == 1:
            return [(False, error)]
    return [_call([item])[0] for item in batch]
