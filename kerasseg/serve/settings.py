"""Everything about the server that can be chosen."""

import dataclasses
import pathlib

from kerasseg import errors


def _flag(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


_PORTS = {"port": 8501, "grpc_port": 8500}
_MAX_PORT = 65535
_LEAST = {"port": 0, "grpc_port": -1, "max_batch_wait": 0}  # Others: above 0.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be chosen; each field is a flag of `python -m kerasseg.serve`.

    Attributes:
        export_dir: Folder of the versions.
        model_name: What clients call the model.
    """

    export_dir: str
    model_name: str
    host: str = _flag(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 for every one. The server asks nobody who they "
        "are: put something that does in front of it.",
    )
    port: int = _flag(8501, "Port to listen on; 0 for any free one.")
    grpc_port: int = _flag(
        -1, "Port of gRPC, such as 8500; 0 for any free one, -1 for no gRPC."
    )
    max_megapixels: float = _flag(16.0, "Larger pictures are refused.")
    max_request_mib: float = _flag(16.0, "Larger requests are refused.")
    max_requests: int = _flag(32, "Requests worked on at once; more are told to wait.")
    max_connections: int = _flag(512, "Connections at once; more are closed.")
    max_connections_per_client: int = _flag(
        128, "Connections of one address at once; more are closed."
    )
    header_seconds: float = _flag(5.0, "Time for the head of a request to arrive.")
    body_seconds: float = _flag(15.0, "Time for the body of a request to arrive.")
    request_seconds: float = _flag(30.0, "Time to answer a request that is here.")
    grace_seconds: float = _flag(
        20.0, "Time to answer what is here after SIGTERM, before it is given up."
    )
    poll_seconds: float = _flag(1.0, "Time between two looks for a newer version.")
    max_batch_size: int = _flag(8, "Pictures of equal size computed at once.")
    max_batch_megapixels: float = _flag(
        4.0, "Their pixels together; a larger picture is computed alone."
    )
    max_batch_wait: float = _flag(
        0.002, "Seconds that a picture waits for others of its size."
    )
    decoders: int = _flag(2, "Processes that decode pictures.")

    @property
    def max_pixels(self) -> int:
        """Pixels of a picture, at most."""
        return int(self.max_megapixels * 1e6)

    @property
    def max_bytes(self) -> int:
        """Bytes of a request's body, at most."""
        return int(self.max_request_mib * 2**20)

    @property
    def max_held_bytes(self) -> int:
        """Bytes of all bodies held at once, at most."""
        return 16 * self.max_bytes

    def check(self) -> None:
        """Looks whether a server can be made of this.

        Raises:
            ValueError: A number or the name is of no use.
            FileNotFoundError: There is no folder of versions.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("port") and value > _MAX_PORT:
                raise errors.UserError(
                    f"--{field.name}={value} is no port; give one up to {_MAX_PORT}, "
                    f"such as {_PORTS[field.name]}."
                )
            least = _LEAST.get(field.name, 1e-9)
            if not isinstance(value, str) and value < least:
                raise errors.UserError(
                    f"--{field.name}={value} is too little; give more, such as "
                    f"{field.default}."
                )
        if "/" in self.model_name or ":" in self.model_name or not self.model_name:
            raise errors.UserError(
                f"`model_name={self.model_name}` would not fit into an address; give "
                f"a name without / and :, such as segmenter."
            )
        if not pathlib.Path(self.export_dir).is_dir():
            raise errors.MissingFileError(
                f"`export_dir={self.export_dir}` is no folder. Write a model into it "
                f"with python -m kerasseg.export."
            )
