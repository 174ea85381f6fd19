"""From a picture's file to its classes: decode, wait for company, compute."""

import asyncio

import numpy as np

from kerasseg import images
from kerasseg.serve.refusals import Refusal

_SMALLEST_SIDE = 32  # Networks pad smaller ones, to 32 times the pixels of a line.
_AT_ONCE = 4  # Pictures of one request: more would crowd out other requests.


class Segmenting:
    """Segments pictures of strangers.

    Args:
        decoder: A `decoding.Decoder`.
        batcher: A `batching.Batcher`.
        max_pixels: Larger pictures are refused.
    """

    def __init__(self, decoder, batcher, max_pixels: int):
        self._decoder, self._batcher = decoder, batcher
        self._max_pixels = max_pixels

    async def classes(self, engine, data: bytes, *, upright: bool, deadline: float):
        """Segments one picture.

        Args:
            engine: An `engine.Engine`.
            data: The file's bytes.
            upright: Whether to turn the picture as EXIF says.
            deadline: Time of the loop after which nobody waits for it.

        Returns:
            RGB, uint8 `[height, width, 3]`, and class numbers, uint8 `[height, width]`.

        Raises:
            Refusal: 400, no such picture; 413, too large; 429 and 504, out of time.
        """
        try:
            async with asyncio.timeout_at(deadline):
                image = await self._decoder.decode(data, upright=upright)
        except TimeoutError:
            raise Refusal(
                429,
                "The time was up while the picture waited to be decoded; try again "
                "later.",
                retry_after=1,
            ) from None
        height, width, _ = image.shape
        num_pixels = self._num_pixels("The picture", 1, height, width)
        found = await self._batcher.submit(
            engine.masks,
            image,
            key=(engine, height, width),
            weight=num_pixels,
            deadline=deadline,
        )
        return image, found

    async def masks(self, engine, files: list[bytes], *, deadline: float) -> np.ndarray:
        """Does what the signature `serving_default` does; EXIF is left alone.

        Args:
            engine: An `engine.Engine`.
            files: The files' bytes.
            deadline: Time of the loop.

        Returns:
            PNG files of class numbers, bytes, `[len(files)]`.

        Raises:
            Refusal: Of the first file that is refused; the others are given up.
        """
        masks = np.empty(len(files), object)
        waiting = iter(enumerate(files))  # Of all tasks: each takes the next file.

        async def work():
            for i, data in waiting:
                _, found = await self.classes(
                    engine, data, upright=False, deadline=deadline
                )
                masks[i] = await asyncio.to_thread(images.encode_label, found)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(work())
        except* Refusal as errors:
            refusal = errors.exceptions[0]
            raise refusal from None
        return masks

    async def call(self, engine, signature: str, inputs: dict, *, deadline: float):
        """Calls a signature with tensors, when its turn comes.

        Args:
            engine: An `engine.Engine`.
            signature: One of `engine.inputs`.
            inputs: Arrays by name.
            deadline: Time of the loop.

        Returns:
            Arrays by name.

        Raises:
            Refusal: 400, shapes that do not fit; 413, too many pixels; what
                TensorFlow refuses.
        """
        for name, (_, wanted) in engine.inputs[signature].items():
            self._check(name, inputs[name], wanted)

        def function(payloads):
            return [engine.call(signature, payload) for payload in payloads]

        weight = sum(array.size for array in inputs.values())
        return await self._batcher.submit(
            function, inputs, key=object(), weight=weight, deadline=deadline
        )

    def _check(self, name, array, wanted):
        given = array.shape
        fits = len(given) == len(wanted) and all(
            side in (None, size) for side, size in zip(wanted, given, strict=True)
        )
        if not fits or not array.size:
            sides = [-1 if side is None else side for side in wanted]
            raise Refusal(
                400,
                f"input {name} has shape {list(given)}, wanted is {sides}, where -1 is "
                f"any number above 0",
            )
        if array.dtype != object and array.size > 3 * self._max_pixels:
            raise Refusal(
                413,
                f"input {name} has {array.size:,} numbers, wanted are at most "
                f"{3 * self._max_pixels:,}; send a smaller picture",
            )
        if array.dtype != object and array.ndim == 4:
            self._num_pixels(f"input {name}", *given[:3])

    def _num_pixels(self, name, batch, height, width):
        """Counts the pixels that a network computes; refuses too many."""
        found = batch * max(height, _SMALLEST_SIDE) * max(width, _SMALLEST_SIDE)
        limit = max(self._max_pixels, _SMALLEST_SIDE**2)
        if found > limit:
            raise Refusal(
                413,
                f"{name} of {batch} x {height} x {width} pixels counts as {found:,}, "
                f"as sides below {_SMALLEST_SIDE} are padded; wanted are at most "
                f"{limit:,}. Send less.",
            )
        return found
