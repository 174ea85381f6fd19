"""The settings of the server."""

import dataclasses
import pathlib

from kerasseg import errors
from kerasseg.inference import tiles
from kerasseg.serve import logs
from kerasseg.system import path_checks
from kerasseg.system.option_fields import option

_PORTS = {"port": 8501, "grpc_port": 8500}
_MAX_PORT = 65535
# Libraries, files of a version being loaded, and connections just accepted.
_OTHER_DESCRIPTORS = 384
_MIN_IMAGE_BYTES = 2**26
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
    host: str = option(
        "127.0.0.1",
        "Address to listen on, 0.0.0.0 for all network interfaces. The server has no "
        "authentication: put a reverse proxy in front of it.",
    )
    allowed_hosts: str = option(
        "",
        "Comma-separated host names, without ports, that requests may be for; * for "
        "any. By default, localhost and 127.0.0.1 if the server listens on a loopback "
        "address, otherwise any.",
    )
    port: int = option(8501, "Port of the HTTP server. 0 chooses a free port.")
    grpc_port: int = option(
        -1,
        "Port of the gRPC server, such as 8500. 0 chooses a free port; -1 "
        "disables gRPC.",
    )
    max_megapixels: float = option(
        16.0,
        "Maximum size of an image in megapixels. Larger images are refused with 413.",
    )
    max_request_mib: float = option(
        16.0,
        "Maximum size of the body of a request in MiB. Larger ones are refused with "
        "413.",
    )
    max_requests: int = option(
        32,
        "Maximum number of requests that are processed or waiting at the same "
        "time. Further requests are refused with 503.",
    )
    max_requests_per_client: int = option(
        24, "Maximum number of requests in progress from one IP address."
    )
    tile_side: int = option(
        1024,
        "Images with a longer side are predicted in overlapping tiles of this size, a "
        "multiple of 128, between which smaller images are predicted.",
    )
    max_connections: int = option(
        512,
        "Maximum number of connections. Further ones are refused with 503 and closed.",
    )
    max_connections_per_client: int = option(
        128, "Maximum number of connections from one IP address."
    )
    header_seconds: float = option(
        5.0, "Timeout for receiving the header of a request, in seconds."
    )
    body_seconds: float = option(
        15.0, "Timeout for receiving the body of a request, in seconds."
    )
    request_seconds: float = option(
        30.0,
        "Timeout for processing a request, including the time in the queue, in "
        "seconds.",
    )
    grace_seconds: float = option(
        20.0,
        "Seconds after SIGTERM until requests that are not finished are aborted "
        "with 503.",
    )
    poll_seconds: float = option(
        1.0, "Seconds between two checks of --export_dir for new versions."
    )
    load_seconds: float = option(
        300.0,
        "Timeout for loading a version, in seconds; then it counts as broken.",
    )
    max_batch_size: int = option(
        8, "Maximum number of images in a batch. Only images of equal size are batched."
    )
    max_batch_megapixels: float = option(
        4.0,
        "Maximum total size of the images in a batch, in megapixels. A larger "
        "image is predicted separately.",
    )
    max_batch_wait: float = option(
        0.002,
        "Maximum number of seconds that an incomplete batch waits for more images.",
    )
    decoders: int = option(2, "Number of worker processes that decode images.")
    log_format: str = option(
        logs.TEXT,
        "Format of the log: text, or json for one object per line on standard output.",
        choices=(logs.TEXT, logs.JSON),
    )
    access_log: str = option(
        logs.OFF,
        "Format of a line on standard output for each finished request.",
        choices=(logs.OFF, logs.TEXT, logs.JSON),
    )

    @property
    def num_descriptors(self) -> int:
        """Maximum number of open files and connections."""
        connections = self.max_connections * self.descriptors_per_connection
        return connections + _OTHER_DESCRIPTORS + 8 * self.decoders

    @property
    def descriptors_per_connection(self) -> int:
        """Descriptors for each of `max_connections`.

        As many connections may be waiting for their error, and as many may be gRPC's.
        """
        return 2 + (self.grpc_port >= 0)

    @property
    def max_pixels(self) -> int:
        """Maximum number of pixels of an image."""
        return int(self.max_megapixels * 1e6)

    @property
    def max_bytes(self) -> int:
        """Maximum number of bytes of a request's body."""
        return int(self.max_request_mib * 2**20)

    @property
    def max_image_bytes(self) -> int:
        """Maximum number of bytes of decoded images and responses held at once."""
        return max(_MIN_IMAGE_BYTES, 16 * self.max_pixels)

    @property
    def max_queue_seconds(self) -> float:
        """Age of the oldest waiting image at which the server is not ready."""
        return self.request_seconds / 2

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
            choices = field.metadata.get("choices", (value,))
            if value not in choices:
                raise errors.UserError(
                    f"`{field.name}={value}`: choose one of {', '.join(choices)}."
                )
            minimum = _MINIMUM.get(field.name, 1e-9)
            if not isinstance(value, str) and value < minimum:
                raise errors.UserError(
                    f"`{field.name}={value}` is too small. Choose for example "
                    f"{field.default}."
                )
        with errors.renamed({"tile_size": "tile_side"}):
            tiles.check_size(self.tile_side)
        if "/" in self.model_name or ":" in self.model_name or not self.model_name:
            raise errors.UserError(
                f"`model_name={self.model_name}` cannot be part of a URL. Choose a "
                f"name without / and :, such as segmenter."
            )
        path_checks.check_model(self.export_dir, "export_dir")
        if not pathlib.Path(self.export_dir).is_dir():
            raise errors.MissingFileError(
                f"`export_dir={self.export_dir}` is not a folder. Export a model there "
                f"with python -m kerasseg.export."
            )
