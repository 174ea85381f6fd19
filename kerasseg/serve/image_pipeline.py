"""The processing of images: decoding, batching, prediction."""

import asyncio

import numpy as np

from kerasseg import images
from kerasseg.serve.batching import Batcher
from kerasseg.serve.decoding import Decoder
from kerasseg.serve.request_errors import RequestError

_SMALLEST_SIDE = 32  # Networks pad smaller sides to this.
_CONCURRENCY = 4  # Of the images of one request, to be fair to other requests.


class ImagePipeline:
    """Predicts the masks of untrusted images.

    Args:
        decoder: A `decoding.Decoder`.
        batcher: A `batching.Batcher`.
        max_pixels: Limit for the pixels of an image.
    """

    def __init__(self, decoder: Decoder, batcher: Batcher, max_pixels: int):
        self._decoder, self._batcher = decoder, batcher
        self._max_pixels = max_pixels

    async def mask(
        self, engine, data: bytes, *, upright: bool, deadline: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicts the mask of one image.

        Args:
            engine: An `engine.Engine`.
            data: The file's bytes.
            upright: Whether to apply the EXIF rotation.
            deadline: Event loop time after which the result is not needed.

        Returns:
            The image, RGB, uint8 `[height, width, 3]`, and the mask, class numbers,
            uint8 `[height, width]`.

        Raises:
            RequestError: 400, not a valid image; 413, too large; 429 or 504, the
                deadline has passed.
        """
        try:
            async with asyncio.timeout_at(deadline):
                image = await self._decoder.decode(data, upright=upright)
        except TimeoutError:
            raise RequestError(
                429,
                "The deadline passed while the image waited to be decoded; try again "
                "later.",
                retry_after=1,
            ) from None
        height, width, _ = image.shape
        num_pixels = self._num_pixels("The image", 1, height, width)
        mask = await self._batcher.submit(
            engine.masks,
            image,
            key=(engine, height, width),
            weight=num_pixels,
            deadline=deadline,
        )
        return image, mask

    async def masks(self, engine, files: list[bytes], *, deadline: float) -> np.ndarray:
        """Predicts masks like the signature `serving_default`, which ignores EXIF.

        Args:
            engine: An `engine.Engine`.
            files: The files' bytes.
            deadline: Event loop time.

        Returns:
            PNG files of class numbers, bytes, `[len(files)]`.

        Raises:
            RequestError: That of the first file that fails; the others are cancelled.
        """
        masks = np.empty(len(files), object)
        waiting = iter(enumerate(files))  # Shared: each task takes the next file.

        async def work():
            for i, data in waiting:
                _, mask = await self.mask(
                    engine, data, upright=False, deadline=deadline
                )
                masks[i] = await asyncio.to_thread(images.encode_label, mask)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_CONCURRENCY):
                    group.create_task(work())
        except* RequestError as group:
            error = group.exceptions[0]
            raise error from None
        return masks

    async def call(
        self, engine, signature: str, inputs: dict, *, deadline: float
    ) -> dict[str, np.ndarray]:
        """Calls a signature with tensors.

        Args:
            engine: An `engine.Engine`.
            signature: A key of `engine.inputs`.
            inputs: Arrays by name.
            deadline: Event loop time.

        Returns:
            Arrays by name.

        Raises:
            RequestError: 400, a wrong shape; 413, too many pixels; or an error of
                TensorFlow.
        """
        for name, (_, shape) in engine.inputs[signature].items():
            self._check(name, inputs[name], shape)

        def function(payloads):
            return [engine.call(signature, payload) for payload in payloads]

        weight = sum(array.size for array in inputs.values())
        return await self._batcher.submit(
            function, inputs, key=object(), weight=weight, deadline=deadline
        )

    def _check(self, name, array, expected):
        given = array.shape
        fits = len(given) == len(expected) and all(
            side in (None, size) for side, size in zip(expected, given, strict=True)
        )
        if not fits or not array.size:
            sides = [-1 if side is None else side for side in expected]
            raise RequestError(
                400,
                f"input {name} has shape {list(given)}, expected {sides}, where -1 is "
                f"any number above 0",
            )
        if array.dtype != object and array.size > 3 * self._max_pixels:
            raise RequestError(
                413,
                f"input {name} has {array.size:,} numbers, the limit is "
                f"{3 * self._max_pixels:,}; send a smaller image",
            )
        if array.dtype != object and array.ndim == 4:
            self._num_pixels(f"input {name}", *given[:3])

    def _num_pixels(self, name, batch, height, width):
        """Returns the pixels after padding; raises `RequestError` for too many."""
        count = batch * max(height, _SMALLEST_SIDE) * max(width, _SMALLEST_SIDE)
        limit = max(self._max_pixels, _SMALLEST_SIDE**2)
        if count > limit:
            raise RequestError(
                413,
                f"{name} of {batch} x {height} x {width} pixels counts as {count:,}, "
                f"because sides below {_SMALLEST_SIDE} are padded; the limit is "
                f"{limit:,}. Send less.",
            )
        return count
