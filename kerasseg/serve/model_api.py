"""TensorFlow Serving's REST API of one model: its paths, responses and errors.

Source: https://www.tensorflow.org/tfx/serving/api_rest; the patterns are those of
tensorflow_serving/model_servers/http_rest_api_util.cc.
"""

import asyncio
import functools
import re
import urllib.parse
from concurrent import futures

from kerasseg.serve import responses, tensor_inputs, tensor_outputs
from kerasseg.serve.admission import Budget
from kerasseg.serve.image_pipeline import ImagePipeline
from kerasseg.serve.request_errors import RequestError
from kerasseg.serve.versions import Versions

_SERVED = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_PREDICT = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_SERVED}:(?P<method>classify|regress|predict)",
    _FLAGS,
)
_STATUS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_SERVED}(?:/(?P<metadata>metadata))?", _FLAGS
)
_DEFAULT_SIGNATURE = "serving_default"
_FILES = "image_bytes"  # Its input.
_SHOWN = 200  # Characters of a path that an error repeats.
_MAX_VERSION = 2**63 - 1


class ModelApi:
    """Handles the paths below /v1.

    Args:
        versions: A `versions.Versions`.
        pipeline: An `image_pipeline.ImagePipeline`.
    """

    def __init__(self, versions: Versions, pipeline: ImagePipeline):
        self._versions, self._pipeline = versions, pipeline
        # One at a time: parsed values need many times the memory of their text, and
        # the GIL would serialize them anyway.
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="json")

    def match(self, method: str, path: str) -> re.Match:
        """Matches the path of a request.

        Args:
            method: HTTP method.
            path: The raw path, with escapes.

        Returns:
            A match with the groups `name`, `version` and `label`, and `method` for POST
            or `metadata` for GET.

        Raises:
            RequestError: 400, unknown method or path.
        """
        patterns = {"POST": _PREDICT, "GET": _STATUS}
        match = method in patterns and patterns[method].fullmatch(path)
        if not match:
            reason = f"Malformed request: {method[:_SHOWN]} {path[:_SHOWN]}"
            raise RequestError(400, reason)
        return match

    def describe(self, match: re.Match) -> responses.Response:
        """Returns the status of the versions, or the signatures of one."""
        if match["name"] is None:
            raise RequestError(400, "Missing model name in request.")
        number = _number(match)
        if match["metadata"]:
            return responses.as_json(_metadata(self._engine(match), self._name))
        name = urllib.parse.unquote(match["name"])
        return responses.as_json(self.status(name, number))

    def find(self, match: re.Match):
        """Returns the engine for a prediction request.

        Raises:
            RequestError: 404, unknown model or version; 501, a method other than
                predict.
        """
        engine = self._engine(match)
        if match["method"].lower() != "predict":
            reason = f"{match['method'].lower()} is not implemented; use predict"
            raise RequestError(501, reason)
        return engine

    async def predict(
        self, engine, body: bytes, *, budget: Budget
    ) -> responses.Response:
        """Calls a signature with the tensors of a JSON body.

        Args:
            engine: The result of `find`.
            body: The body.
            budget: An `admission.Budget`.
        """
        name, row, arrays = await self._run(budget.deadline, _read, engine, body)
        outputs = await self.compute(engine, name, arrays, budget=budget)
        write = functools.partial(tensor_outputs.write, deadline=budget.deadline)
        with budget.holding(sum(map(tensor_outputs.num_bytes, outputs.values()))):
            body = await self._run(budget.deadline, write, outputs, row)
        return responses.Response(body)

    async def _run(self, deadline, function, *arguments):
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._thread, function, *arguments)
        except TimeoutError:
            raise tensor_outputs.too_late() from None

    async def compute(
        self, engine, signature: str, arrays: dict, *, budget: Budget
    ) -> dict:
        """Calls a signature; image files are processed like those of `/segment`.

        Args:
            engine: An `engine.Engine`.
            signature: A key of `engine.inputs`.
            arrays: All of its inputs by name.
            budget: An `admission.Budget`.

        Returns:
            Arrays by name.
        """
        if set(arrays) != {_FILES}:
            return await self._pipeline.call(engine, signature, arrays, budget=budget)
        files = arrays[_FILES]
        if files.ndim != 1 or not files.size:
            raise RequestError(
                400,
                f"input {_FILES} has shape {list(files.shape)}, expected [-1], where "
                f"-1 is any number above 0",
            )
        files = files.tolist()
        return await self._pipeline.answers(engine, files, budget=budget)

    def loaded(self, name: str, number: int | None):
        """Returns the engine of a version.

        Args:
            name: Name of the model.
            number: Number of the version; None is the newest.

        Raises:
            RequestError: 404, unknown model or version; 503, none is loaded yet.
        """
        if name != self._name:
            requested = f"Latest({name[:_SHOWN]})"
            if number is not None:
                requested = f"Specific({name[:_SHOWN]}, {number})"
            raise RequestError(404, f"Servable not found for request: {requested}")
        return self._versions.get(number)

    def status(self, name: str, number: int | None) -> dict:
        """Returns the states of the versions as a GetModelStatusResponse in JSON.

        Raises:
            RequestError: 404, unknown model or version.
        """
        if name != self._name:
            what = "any versions" if number is None else f"version {number}"
            raise RequestError(404, f"Could not find {what} of model {name[:_SHOWN]}")
        return {"model_version_status": self._versions.status(number)}

    @property
    def _name(self):
        return self._versions.model_name

    def _engine(self, match):
        number = _number(match)
        return self.loaded(urllib.parse.unquote(match["name"]), number)


def _read(engine, body):
    """Returns the signature's name, whether the format is row, and the arrays."""
    document = tensor_inputs.parse(body)
    name = tensor_inputs.signature_name(document, _DEFAULT_SIGNATURE)
    if name not in engine.inputs:
        raise RequestError(
            400,
            f'Serving signature name: "{name[:_SHOWN]}" not found in signature def',
        )
    return name, *tensor_inputs.read(document, engine.inputs[name])


def _number(match):
    if match["label"]:
        label = urllib.parse.unquote(match["label"])[:_SHOWN]
        raise RequestError(400, f"Unrecognized servable version label: {label}")
    if match["version"] is None:
        return None
    if len(match["version"]) > 19 or int(match["version"]) > _MAX_VERSION:
        shown = match["version"][:_SHOWN]
        raise RequestError(400, f"Failed to convert version: {shown} to numeric.")
    return int(match["version"])


def _metadata(engine, model_name):
    return {
        "model_spec": {
            "name": model_name,
            "signature_name": "",
            "version": str(engine.number),
        },
        "metadata": {"signature_def": {"signature_def": engine.metadata}},
    }
