"""TensorFlow Serving's REST API of one model: its paths, answers and errors.

Source: https://www.tensorflow.org/tfx/serving/api_rest; the patterns are those of
tensorflow_serving/model_servers/http_rest_api_util.cc.
"""

import asyncio
import re
import urllib.parse
from concurrent import futures

from kerasseg.serve import answers, replies, tensors
from kerasseg.serve.refusals import Refusal

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
_FILES, _MASKS = "image_bytes", "mask_png_bytes"  # Its input and its output.
_SHOWN = 200  # Characters of a path that an error repeats.
_MAX_VERSION = 2**63 - 1


class ModelApi:
    """Answers what starts with /v1.

    Args:
        versions: A `versions.Versions`.
        segmenting: A `segmenting.Segmenting`.
    """

    def __init__(self, versions, segmenting):
        self._versions, self._segmenting = versions, segmenting
        # One at a time: values take many times the room of their text, and Python's
        # lock would let no second one work anyway.
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="json")

    def match(self, method: str, path: str) -> re.Match:
        """Finds out what is wanted.

        Args:
            method: Of HTTP.
            path: As it was sent, escapes included.

        Returns:
            A match with the groups `name`, `version` and `label`; `method` where
            tensors are sent, else `metadata`.

        Raises:
            Refusal: 400, no such method or path.
        """
        patterns = {"POST": _PREDICT, "GET": _STATUS}
        match = method in patterns and patterns[method].fullmatch(path)
        if not match:
            reason = f"Malformed request: {method[:_SHOWN]} {path[:_SHOWN]}"
            raise Refusal(400, reason)
        return match

    def describe(self, match: re.Match) -> replies.Reply:
        """Tells the status of the versions, or the signatures of one."""
        if match["name"] is None:
            raise Refusal(400, "Missing model name in request.")
        number = _number(match)
        if match["metadata"]:
            return replies.as_json(_metadata(self._engine(match), self._name))
        name = urllib.parse.unquote(match["name"])
        return replies.as_json(self.status(name, number))

    def find(self, match: re.Match):
        """Returns the engine that a request with tensors is for.

        Raises:
            Refusal: 404, no such model or version; 501, a method that segmentation
                does not have.
        """
        engine = self._engine(match)
        if match["method"].lower() != "predict":
            reason = f"{match['method'].lower()} is not offered; use predict"
            raise Refusal(501, reason)
        return engine

    async def predict(self, engine, body: bytes, *, deadline: float) -> replies.Reply:
        """Calls a signature with the tensors of a JSON text.

        Args:
            engine: What `find` returned.
            body: The text.
            deadline: Time of the loop.
        """
        run = asyncio.get_running_loop().run_in_executor
        name, row, arrays = await run(self._thread, _read, engine, body)
        outputs = await self.compute(engine, name, arrays, deadline=deadline)
        return replies.Reply(await run(self._thread, answers.write, outputs, row))

    async def compute(self, engine, signature: str, arrays: dict, *, deadline: float):
        """Calls a signature; that of picture files as `/segment` does.

        Args:
            engine: An `engine.Engine`.
            signature: One of `engine.inputs`.
            arrays: Its inputs by name, all of them.
            deadline: Time of the loop.

        Returns:
            Arrays by name.
        """
        if set(arrays) != {_FILES}:
            return await self._segmenting.call(
                engine, signature, arrays, deadline=deadline
            )
        files = arrays[_FILES]
        if files.ndim != 1 or not files.size:
            raise Refusal(
                400,
                f"input {_FILES} has shape {list(files.shape)}, wanted is [-1], where "
                f"-1 is any number above 0",
            )
        files = files.tolist()
        return {_MASKS: await self._segmenting.masks(engine, files, deadline=deadline)}

    def loaded(self, name: str, number: int | None):
        """Returns the engine of a version, of the newest one for None.

        Raises:
            Refusal: 404, no such model or version; 503, none is loaded yet.
        """
        if name != self._name:
            wanted = f"Latest({name[:_SHOWN]})"
            if number is not None:
                wanted = f"Specific({name[:_SHOWN]}, {number})"
            raise Refusal(404, f"Servable not found for request: {wanted}")
        return self._versions.get(number)

    def status(self, name: str, number: int | None) -> dict:
        """Tells the states of the versions as GetModelStatusResponse, in JSON.

        Raises:
            Refusal: 404, no such model or version.
        """
        if name != self._name:
            what = "any versions" if number is None else f"version {number}"
            raise Refusal(404, f"Could not find {what} of model {name[:_SHOWN]}")
        return {"model_version_status": self._versions.status(number)}

    @property
    def _name(self):
        return self._versions.model_name

    def _engine(self, match):
        number = _number(match)
        return self.loaded(urllib.parse.unquote(match["name"]), number)


def _read(engine, body):
    """Returns the name of a signature, whether it is of the row form, and arrays."""
    document = tensors.parse(body)
    name = tensors.signature_name(document, _DEFAULT_SIGNATURE)
    if name not in engine.inputs:
        raise Refusal(
            400,
            f'Serving signature name: "{name[:_SHOWN]}" not found in signature def',
        )
    return name, *tensors.read(document, engine.inputs[name])


def _number(match):
    if match["label"]:
        label = urllib.parse.unquote(match["label"])[:_SHOWN]
        raise Refusal(400, f"Unrecognized servable version label: {label}")
    if match["version"] is None:
        return None
    if len(match["version"]) > 19 or int(match["version"]) > _MAX_VERSION:
        shown = match["version"][:_SHOWN]
        raise Refusal(400, f"Failed to convert version: {shown} to numeric.")
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
