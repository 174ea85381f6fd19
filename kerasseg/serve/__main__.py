r"""Serves an exported model: TensorFlow Serving's REST API, /segment, and a web page.

python -m kerasseg.serve --export_dir=DIR --model_name=NAME [--port=8501]
curl --data-binary @image.jpg http://127.0.0.1:8501/segment --output mask.png
curl --data-binary @image.jpg -H 'Accept: image/jpeg' \
    http://127.0.0.1:8501/segment --output overlay.jpg

DIR is the --export_dir of python -m kerasseg.export. The server loads the newest
version, and replaces it without downtime when a newer one is exported.
http://127.0.0.1:8501/ is a demo page, /v1/models/NAME:predict is TensorFlow Serving's
API, and /healthz, /readyz and /metrics are for monitoring. After SIGTERM the server
completes the requests that it has received and then stops. docs/serving.md describes
the API and the limits.

Each flag can also be set by an environment variable: KERASSEG_MAX_REQUESTS=16 stands
for --max_requests=16. Flags take precedence over variables.
"""

import functools

from absl import flags

from kerasseg import cli, errors
from kerasseg.serve import settings
from kerasseg.system import runtime

cli.define_fields(settings.Settings)
_MODEL_NAME = flags.DEFINE_string(
    "model_name",
    None,
    "Name of the model in the URLs of the API, as in /v1/models/NAME.",
)
flags.declare_key_flag("export_dir")


def main(argv):
    """Turns flags into arguments, and calls `server.serve`."""
    del argv
    export_dir, model_name = cli.required(
        export_dir=cli.EXPORT_DIR.value, model_name=_MODEL_NAME.value
    )
    chosen = cli.read_fields(
        settings.Settings, export_dir=export_dir, model_name=model_name
    )
    chosen.check()
    try:
        from kerasseg.serve import server  # Needs an extra.
    except ImportError as error:
        raise errors.MissingPackageError(
            f"The server needs {error.name}: pip install 'kerasseg[serve]'"
        ) from error
    server.serve(chosen, functools.partial(_load, tile_size=chosen.tile_side))


def _load(path, tile_size):
    runtime.start_tensorflow()  # Takes seconds, during which the server responds.
    from kerasseg.serve import engine

    return engine.Engine(path, tile_size=tile_size)


if __name__ == "__main__":
    cli.run(main, prefix="KERASSEG_")
