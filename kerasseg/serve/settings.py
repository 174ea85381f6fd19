"""The settings of the server."""

import dataclasses
import pathlib

from kerasseg import errors


def _flag(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


_PORTS = {"port": 8501, "grpc_port": 8500}
_MAX_PORT = 65535
_MINIMUM = {"port": 0, "grpc_port": -1, "max_batch_wait": 0}  # Others: above 0.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings; each other field is a flag of `python -m kerasseg.serve`.

    Attributes:
        export_dir: Folder of the versions.
        model_name: Name of the model in the API's URLs.
    """

    export_dir: str
    model_name: str
    host: str = _flag(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 for all. The server has no authentication: use "
        "a reverse proxy for it.",
    )
    port: int = _flag(8501, "Port to listen on; 0 for any free port.")
    grpc_port: int = _flag(
        -1, "Port of gRPC, such as 8500; 0 for any free port, -1 for no gRPC."
    )
    max_megapixels: float = _flag(16.0, "Maximum size of an image, in megapixels.")
    max_request_mib: float = _flag(16.0, "Maximum size of a request, in MiB.")
    max_requests: int = _flag(
        32, "Requests processed at once; further ones receive 503."
    )
    max_connections: int = _flag(
        512, "Maximum number of connections; further ones are closed."
    )
    max_connections_per_client: int = _flag(
        128, "Maximum number of connections from one address."
    )
    header_seconds: float = _flag(5.0, "Timeout for the head of a request.")
    body_seconds: float = _flag(15.0, "Timeout for the body of a request.")
    request_seconds: float = _flag(30.0, "Timeout for the processing of a request.")
    grace_seconds: float = _flag(
        20.0, "Time to complete requests after SIGTERM before they are aborted."
    )
    poll_seconds: float = _flag(1.0, "Time between checks for a newer version.")
    max_batch_size: int = _flag(8, "Maximum number of images of equal size in a batch.")
    max_batch_megapixels: float = _flag(
        4.0, "Maximum pixels of a batch; a larger image is a separate batch."
    )
    max_batch_wait: float = _flag(
        0.002, "Seconds that an incomplete batch waits for more images."
    )
    decoders: int = _flag(2, "Number of processes that decode images.")

    @property
    def max_pixels(self) -> int:
        """Maximum number of pixels of an image."""
        return int(self.max_megapixels * 1e6)

    @property
    def max_bytes(self) -> int:
        """Maximum number of bytes of a request's body."""
        return int(self.max_request_mib * 2**20)

    @property
    def max_held_bytes(self) -> int:
        """Maximum number of bytes of all bodies held at once."""
        return 16 * self.max_bytes

    def check(self) -> None:
        """Checks the settings.

        Raises:
            errors.UserError: A number or the name is out of range.
            errors.MissingFileError: There is no folder of versions.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("port") and value > _MAX_PORT:
                raise errors.UserError(
                    f"`{field.name}={value}`: expected a port up to {_MAX_PORT}. "
                    f"Choose for example {_PORTS[field.name]}."
                )
            minimum = _MINIMUM.get(field.name, 1e-9)
            if not isinstance(value, str) and value < minimum:
                raise errors.UserError(
                    f"`{field.name}={value}` is too small. Choose for example "
                    f"{field.default}."
                )
        if "/" in self.model_name or ":" in self.model_name or not self.model_name:
            raise errors.UserError(
                f"`model_name={self.model_name}` cannot be part of a URL. Choose a "
                f"name without / and :, such as segmenter."
            )
        if not pathlib.Path(self.export_dir).is_dir():
            raise errors.MissingFileError(
                f"`export_dir={self.export_dir}` is not a folder. Export a model there "
                f"with python -m kerasseg.export."
            )
