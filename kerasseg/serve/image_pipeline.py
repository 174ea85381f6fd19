"""The processing of images: decoding, batching, prediction."""

import asyncio
import contextlib
import functools
from typing import Any, NamedTuple

import numpy as np

from kerasseg import images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.inference import tiles
from kerasseg.serve import access_log, costs, file_headers
from kerasseg.serve.admission import Budget
from kerasseg.serve.batching import Batcher
from kerasseg.serve.decoding import Decoder, check_pixels
from kerasseg.serve.request_errors import RequestError

DEFAULT_TILE_SIZE = 1024
_CONCURRENCY = 4  # Of the images of one request, to be fair to other requests.
_BYTES_PER_PIXEL = 4  # Of a decoded image and its mask.
_DTYPES = {"mask_png_bytes": object, "instance_png_bytes": object}
_INPUT_AND_OUTPUTS = 2  # Times the bytes of an input tensor.


class Prediction(NamedTuple):
    """The prediction of an image.

    Attributes:
        image: RGB, uint8 `[height, width, 3]`, for display.
        mask: Class numbers, uint8 `[height, width]`.
        found: A `found.Found`; None if the network segments pixels.
    """

    image: np.ndarray
    mask: np.ndarray
    found: Any = None


class ImagePipeline:
    """Predicts the masks of untrusted images.

    Args:
        decoder: A `decoding.Decoder`.
        batcher: A `batching.Batcher`.
        max_pixels: Limit for the pixels of an image.
        tile_size: Images with a longer side are predicted in tiles of this size, a
            multiple of 128, between which smaller images are predicted. A network
            that detects objects gets whole images of any size.
    """

    def __init__(
        self,
        decoder: Decoder,
        batcher: Batcher,
        max_pixels: int,
        tile_size: int = DEFAULT_TILE_SIZE,
    ):
        self._decoder, self._batcher = decoder, batcher
        self._max_pixels, self._tile_size = max_pixels, tile_size

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest image that waits for the decoder or the network."""
        return max(self._decoder.oldest_seconds, self._batcher.oldest_seconds)

    async def mask(
        self, engine, data: bytes, *, upright: bool, budget: Budget
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicts the mask of one image, as `predict` does.

        Returns:
            The image, RGB, uint8 `[height, width, 3]`, and the mask, class numbers,
            uint8 `[height, width]`.
        """
        image, mask, _ = await self.predict(
            engine, data, upright=upright, budget=budget
        )
        return image, mask

    async def predict(
        self, engine, data: bytes, *, upright: bool, budget: Budget
    ) -> Prediction:
        """Predicts one image.

        Args:
            engine: An `engine.Engine`.
            data: The file's bytes.
            upright: Whether to apply the EXIF rotation.
            budget: An `admission.Budget`.

        Returns:
            The image and its mask.

        Raises:
            RequestError: 400, not a valid image; 413, too large or too much work; 429
                or 504, the deadline has passed; 503, too much work before it.
        """
        claimed = file_headers.claimed_size(data)
        async with contextlib.AsyncExitStack() as stack:
            if claimed is not None:  # Otherwise the decoder gives the reason.
                check_pixels(*claimed, self._max_pixels)
                plan = await self._admit(stack, engine, budget, *claimed)
            large = claimed is None or plan.large
            kind = engine.image_kind
            decoded = await self._decode(data, upright, budget, large, kind)
            is_raster = isinstance(decoded, images.Raster)
            image, valid, _ = decoded if is_raster else images.Raster(decoded)
            height, width, _ = image.shape
            access_log.current().add_images(1, height, width)
            if claimed is None:
                plan = await self._admit(stack, engine, budget, height, width)
            elif (height, width) not in (claimed, claimed[::-1]):
                raise RequestError(
                    400,
                    f"The image is {width} x {height} pixels, but its header states "
                    f"{claimed[1]} x {claimed[0]}; save it again.",
                )
            found = await self._predict(engine, image, plan, budget)
            if valid is not None:  # Pixels without a value.
                found = np.where(valid, found, np.uint8(IGNORE_LABEL))
            if not engine.detects_objects:
                return Prediction(kind.view(image), found)
            mask = await asyncio.to_thread(found.class_map)
            return Prediction(image, mask, found)

    async def _admit(self, stack, engine, budget, height, width):
        """Returns the plan of an image, if its cost is accepted."""
        self._num_pixels("The image", 1, height, width)  # Checks it.
        plan = self._plan(engine, height, width)
        engine.cost.check_memory(plan.call_pixels)
        if plan.large:
            async with _before(budget.deadline):
                await stack.enter_async_context(budget.large)
        seconds = engine.cost.seconds(plan.num_pixels)
        num_bytes = height * width * _BYTES_PER_PIXEL
        stack.enter_context(budget.using(seconds, num_bytes, large=plan.large))
        return plan

    def _plan(self, engine, height, width):
        if engine.detects_objects:
            height, width = engine.network_size(height, width)
        tiled = not engine.detects_objects
        return costs.plan(height, width, self._tile_size, tiled=tiled)

    async def _decode(self, data, upright, budget, large, kind):
        record = access_log.current()
        async with _before(budget.deadline):
            with record.decoding():
                return await self._decoder.decode(
                    data, upright=upright, large=large, kind=kind
                )

    async def _predict(self, engine, image, plan, budget):
        height, width, _ = image.shape
        if plan.tiled:
            budget.tiled = True
            return await self._predict_tiles(engine, image, budget)
        return await self._batcher.submit(
            engine.detections if engine.detects_objects else engine.masks,
            image,
            key=(engine, height, width),
            weight=plan.num_pixels,
            deadline=budget.deadline,
            large=plan.large,
            client=budget.client,
        )

    async def _predict_tiles(self, engine, image, budget):
        """Predicts the mask like `inference.Predictor` with the same `tile_size`."""
        mask = np.empty(image.shape[:2], engine.rule.mask_dtype)
        regions = tiles.blend(
            image.shape[:2],
            self._tile_size,
            lambda rows, columns: engine.probabilities(image[rows, columns]),
        )
        # Work for a client that has gone ends after a tile: no other one is submitted.
        while await self._batcher.submit(
            functools.partial(_next_tile, mask=mask, rule=engine.rule),
            regions,
            key=object(),
            weight=self._tile_size**2,
            deadline=budget.deadline,
            large=True,
            client=budget.client,
        ):
            pass
        return mask

    async def masks(self, engine, files: list[bytes], *, budget: Budget) -> np.ndarray:
        """Predicts masks like the signature `serving_default`, which ignores EXIF.

        Args:
            engine: An `engine.Engine`.
            files: The files' bytes.
            budget: An `admission.Budget`.

        Returns:
            PNG files of class numbers, bytes, `[len(files)]`.

        Raises:
            RequestError: That of the first file that fails; the others are cancelled.
                413, they take too long together.
        """

        async def encode(prediction):
            return await asyncio.to_thread(images.encode_label, prediction.mask)

        masks = np.empty(len(files), object)
        masks[:] = await self._each(engine, files, encode, budget)
        return masks

    async def answers(self, engine, files: list[bytes], *, budget: Budget) -> dict:
        """Returns the outputs of the signature `serving_default` by name.

        Args:
            engine: As in `masks`, like the others.
            files: The files' bytes.
            budget: An `admission.Budget`.

        Raises:
            RequestError: See `masks`.
        """
        if not engine.detects_objects:
            masks = await self.masks(engine, files, budget=budget)
            return {"mask_png_bytes": masks}

        async def encode(prediction):
            return await asyncio.to_thread(prediction.found.files)

        encoded = await self._each(engine, files, encode, budget)
        return {
            name: np.array([each[name] for each in encoded], _DTYPES.get(name))
            for name in sorted(encoded[0])
        }

    async def _each(self, engine, files, encode, budget):
        """Predicts files, a few at a time; returns what `encode` makes of each."""
        # In a thread: a body may hold thousands of files with thousands of segments.
        seconds = await asyncio.to_thread(self._seconds, engine, files)
        budget.admission.check_seconds(seconds)
        results: list = [None] * len(files)
        waiting = iter(enumerate(files))  # Shared: each task takes the next file.

        async def work():
            for i, data in waiting:
                prediction = await self.predict(
                    engine, data, upright=False, budget=budget
                )
                results[i] = await encode(prediction)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_CONCURRENCY):
                    group.create_task(work())
        except* RequestError as group:
            error = group.exceptions[0]
            raise error from None
        return results

    def _seconds(self, engine, files):
        sizes = filter(None, map(file_headers.claimed_size, files))
        plans = (self._plan(engine, *size) for size in sizes)
        return engine.cost.seconds(sum(plan.num_pixels for plan in plans))

    async def call(
        self, engine, signature: str, inputs: dict, *, budget: Budget
    ) -> dict[str, np.ndarray]:
        """Calls a signature with tensors.

        Args:
            engine: An `engine.Engine`.
            signature: A key of `engine.inputs`.
            inputs: Arrays by name.
            budget: An `admission.Budget`.

        Returns:
            Arrays by name.

        Raises:
            RequestError: 400, a wrong shape; 413, too many pixels or too much work;
                503, too much work before it; or an error of TensorFlow.
        """
        num_pixels = 0
        for name, (_, shape) in engine.inputs[signature].items():
            channels = engine.image_kind.channels
            num_pixels += self._check(name, inputs[name], shape, channels)
            if inputs[name].ndim == 4:
                access_log.current().add_images(*inputs[name].shape[:3])

        def function(payloads):
            return [engine.call(signature, payload) for payload in payloads]

        engine.cost.check_memory(num_pixels)
        large = costs.is_large(num_pixels, self._tile_size)
        num_bytes = _INPUT_AND_OUTPUTS * sum(array.nbytes for array in inputs.values())
        seconds = engine.cost.seconds(num_pixels)
        with budget.using(seconds, num_bytes, large=large):
            return await self._batcher.submit(
                function,
                inputs,
                key=object(),
                weight=sum(array.size for array in inputs.values()),
                deadline=budget.deadline,
                large=large,
                client=budget.client,
            )

    def _check(self, name, array, expected, channels):
        """Returns the pixels of an input; raises `RequestError` for a wrong shape."""
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
        if array.dtype != object and array.size > channels * self._max_pixels:
            raise RequestError(
                413,
                f"input {name} has {array.size:,} numbers, the limit is "
                f"{channels * self._max_pixels:,}; send a smaller image",
            )
        if array.dtype == object or array.ndim != 4:
            return array.size // channels
        return self._num_pixels(f"input {name}", *given[:3])

    def _num_pixels(self, name, batch, height, width):
        """Returns the pixels after padding; raises `RequestError` for too many."""
        count = batch * costs.padded(height) * costs.padded(width)
        limit = max(self._max_pixels, costs.SMALLEST_SIDE**2)
        if count > limit:
            raise RequestError(
                413,
                f"{name} of {batch} x {height} x {width} pixels counts as {count:,}, "
                f"because sides below {costs.SMALLEST_SIDE} are padded; the limit is "
                f"{limit:,}. Send less.",
            )
        return count


@contextlib.asynccontextmanager
async def _before(deadline):
    """Cancels the block at the deadline, with a `RequestError`."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        raise RequestError(
            429,
            "The deadline passed while the image waited to be decoded; try again "
            "later.",
            retry_after=1,
        ) from None


def _next_tile(payloads, mask, rule):
    """Predicts the next tile of one image; returns whether there was one."""
    (regions,) = payloads
    for rows, columns, probabilities in regions:
        mask[rows, columns] = rule.mask(probabilities)
        return [True]
    return [False]
