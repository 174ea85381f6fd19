"""Batching: one call of the network for several requests."""

import asyncio
import dataclasses
import time
import typing
from collections.abc import Callable, Hashable
from concurrent import futures

from kerasseg.serve import access_log
from kerasseg.serve.request_errors import RequestError


@dataclasses.dataclass(eq=False)
class _Item:
    function: typing.Any
    payload: typing.Any
    key: typing.Hashable
    weight: int
    result: asyncio.Future
    since: float
    large: bool
    turn: float
    started: float | None = None


class Batcher:
    """Calls functions in one thread, with several waiting payloads of one key.

    While a call runs, others queue; an incomplete batch waits for `max_wait`. Small
    payloads go before large ones, until they have taken as long as the last large one:
    a small payload waits for two large ones at most, and while both kinds wait, each
    gets half of the time. Among payloads of one kind, clients take turns by weight; the
    oldest one of the client whose turn it is is in the next batch.

    Args:
        max_size: Maximum number of payloads in a batch.
        max_weight: Maximum sum of their weights; a single payload may exceed it.
        max_wait: Seconds that an incomplete batch waits for more payloads.
        max_large_weight: Replaces `max_weight` in batches of large payloads.
        on_batch: Called with the number of payloads of each batch.
    """

    def __init__(
        self,
        max_size: int,
        max_weight: int,
        max_wait: float,
        on_batch: Callable[[int], None] | None = None,
        *,
        max_large_weight: int | None = None,
    ):
        self._max_size, self._max_weight = max_size, max_weight
        self._max_wait = max_wait
        self._max_large_weight = max_large_weight or max_weight
        self._on_batch = on_batch
        self._waiting: list[_Item] = []
        self._turns = {kind: _Turns() for kind in (False, True)}
        self._arrived = asyncio.Event()
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="network")
        self._task: asyncio.Task | None = None
        self._computing_since: float | None = None
        self._credit = 0.0  # Seconds in which small payloads go before large ones.

    @property
    def computing(self) -> bool:
        """Whether a call is running; Python cannot interrupt it."""
        return self._computing_since is not None

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest payload that waits, or of the running call."""
        began = [item.since for item in self._waiting if not item.result.done()]
        if self._computing_since is not None:
            began.append(self._computing_since)
        return time.monotonic() - min(began) if began else 0.0

    async def submit(
        self,
        function: Callable,
        payload,
        *,
        key: Hashable,
        weight: int,
        deadline: float,
        large: bool = False,
        client: str = "",
    ):
        """Waits for the result of one payload.

        Args:
            function: Function of a list of payloads to a list of results; the same for
                equal keys.
            payload: Its input.
            key: Only payloads with equal keys share a batch.
            weight: See `max_weight`.
            deadline: Event loop time after which the result is not needed.
            large: Whether small payloads go first.
            client: Who waits for it: the payloads of one client do not delay those of
                others.

        Raises:
            RequestError: 429 or 504, the deadline has passed.
            Exception: The exception of the function for this payload alone.
        """
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run())
        item = _Item(
            function,
            payload,
            key,
            weight,
            loop.create_future(),
            time.monotonic(),
            large,
            self._turns[large].next(client, weight),
        )
        self._waiting.append(item)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await item.result
        except TimeoutError:
            raise _too_late(item.started is not None) from None
        finally:
            access_log.current().add_call(item.since, item.started)
            item.result.cancel()  # If the caller was cancelled, it is not computed.

    async def _run(self):
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch and len(batch) < self._max_size and not batch[0].large:
                left = batch[0].since + self._max_wait - time.monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                    batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            for item in batch:
                item.started = time.monotonic()
                self._waiting.remove(item)
            self._turns[batch[0].large].advance(batch[0].turn)
            if self._on_batch:
                self._on_batch(len(batch))
            await self._compute(batch)

    async def _compute(self, batch):
        loop = asyncio.get_running_loop()
        began = self._computing_since = time.monotonic()
        results = await loop.run_in_executor(self._thread, _call, batch)
        self._computing_since = None
        seconds = time.monotonic() - began
        self._credit = seconds if batch[0].large else max(0, self._credit - seconds)
        for item, (good, value) in zip(batch, results, strict=True):
            if item.result.done():
                continue
            if good:
                item.result.set_result(value)
            else:
                item.result.set_exception(value)

    def _take(self):
        """Returns the next payload of a kind and those that fit into its batch."""
        self._waiting = [item for item in self._waiting if not item.result.done()]
        small, large = (
            sorted(
                [item for item in self._waiting if item.large == kind],
                key=lambda item: item.turn,  # Equal ones stay in their order.
            )
            for kind in (False, True)
        )
        if not small:
            self._credit = 0.0
        if large and self._credit <= 0:
            return _fitting(large, self._max_size, self._max_large_weight)
        return _fitting(small, self._max_size, self._max_weight)

    async def close(self) -> None:
        """Stops the thread; waiting payloads are dropped."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Turns:
    """Turns of clients, by start-time fair queueing.

    The turn of a payload is the sum of the weights of its client before it, or the turn
    that is being served if that is larger: a client saves up nothing while it is idle.
    """

    def __init__(self):
        self._now = 0.0
        self._next: dict[str, float] = {}

    def next(self, client: str, weight: float) -> float:
        """Returns the turn of a new payload of a client."""
        turn = max(self._now, self._next.get(client, 0.0))
        self._next[client] = turn + weight
        return turn

    def advance(self, turn: float) -> None:
        """Records that the payload of a turn is served."""
        self._now = max(self._now, turn)
        self._next = {
            client: each for client, each in self._next.items() if each > self._now
        }


def _fitting(waiting, max_size, max_weight):
    """Returns the first payload and the next ones that fit into its batch."""
    batch: list[_Item] = []
    weight = 0
    for item in waiting:
        if batch and (item.key != batch[0].key or weight + item.weight > max_weight):
            continue
        batch.append(item)
        weight += item.weight
        if len(batch) == max_size:
            break
    return batch


def _too_late(started):
    if started:
        return RequestError(
            504, "The deadline passed during the computation; send less at once."
        )
    return RequestError(
        429,
        "The deadline passed while the request was queued; try again later.",
        retry_after=1,
    )


def _call(batch):
    """Returns (True, result) or (False, error) for each payload."""
    function = batch[0].function
    try:
        results = function([item.payload for item in batch])
        return [(True, result) for result in results]
    except Exception as error:
        if len(batch) == 1:
            return [(False, error)]
    return [_call([item])[0] for item in batch]
