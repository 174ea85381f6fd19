r"""Serves an exported model: TensorFlow Serving's REST API, /segment and a page.

python -m kerasseg.serve --export_dir=DIR --model_name=NAME [--port=8501]
curl --data-binary @picture.jpg http://127.0.0.1:8501/segment --output mask.png
curl --data-binary @picture.jpg -H 'Accept: image/jpeg' \
    http://127.0.0.1:8501/segment --output overlay.jpg

DIR is what python -m kerasseg.export wrote. A newer version that appears in it takes
over when it is loaded; the one before answers until then. http://127.0.0.1:8501/ is a
page to try it, /v1/models/NAME:predict what TensorFlow Serving has, /healthz, /readyz
and /metrics are for those who watch it. SIGTERM stops it when everything that has
arrived is answered.
"""

from absl import flags

from kerasseg import cli, errors
from kerasseg.serve import settings

cli.define_fields(settings.Settings)
_MODEL_NAME = flags.DEFINE_string(
    "model_name", None, "What clients call the model; part of its addresses."
)
flags.declare_key_flag("export_dir")


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    export_dir, model_name = cli.required(
        export_dir=cli.EXPORT_DIR.value, model_name=_MODEL_NAME.value
    )
    chosen = cli.read_fields(
        settings.Settings, export_dir=export_dir, model_name=model_name
    )
    chosen.check()
    try:
        from kerasseg.serve import server  # An extra.
    except ImportError as error:
        raise errors.MissingPackageError(
            f"The server needs {error.name}: pip install 'kerasseg[serve]'"
        ) from error
    server.serve(chosen, _load)


def _load(path):
    from kerasseg.serve import engine  # Starts TensorFlow: seconds, while others wait.

    return engine.Engine(path)


if __name__ == "__main__":
    cli.run(main)
