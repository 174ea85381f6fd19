"""The command serve in a separate process, with a TensorFlow network."""

import base64
import signal
import subprocess
import sys

import pytest
import requests

from kerasseg import images
from tests.support import levels, served, server_process


def command(*arguments):
    """Runs the command; returns its exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "kerasseg.serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_an_export_is_served_until_sigterm(tmp_path):
    served.export(tmp_path)
    server = server_process.Server(tmp_path)
    try:
        server.wait_until_ready()
        status, _, mask = server.request("POST", "/segment", served.FILE)
        assert (status, images.read_label(mask).tolist()) == (200, levels.CLASSES)
        pixels = levels.IMAGE.tolist()
        body = {"signature_name": "tensor", "instances": [pixels]}
        status, response = server.json("POST", "/v1/models/levels:predict", body)
        assert response["predictions"][0]["classes"] == levels.CLASSES
        _, metadata = server.json("GET", "/v1/models/levels/metadata")
        file = {"b64": base64.b64encode(served.FILE).decode()}
        response = requests.post(
            f"http://127.0.0.1:{server.port}/v1/models/levels:predict",
            json={"instances": [file]},
            timeout=30,
        )
        (mask,) = response.json()["predictions"]
        assert images.read_label(base64.b64decode(mask["b64"])).tolist() == (
            levels.CLASSES
        )
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        assert set(signatures) >= {"serving_default", "tensor"}
        assert server.json("GET", "/model")[1]["classes"][2]["name"] == "right"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()


def test_help_does_not_start_tensorflow():
    code = (
        "import runpy, sys; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('kerasseg.serve', run_name='__main__', alter_sys=True)\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--max_megapixels" in done.stdout
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Required flags are missing: --export_dir, --model_name."),
        (["--export_dir=x", "--model_name=a/b"], "name without / and :"),
        (
            ["--export_dir=x", "--model_name=m", "--decoders=0"],
            "--decoders=0 is too small",
        ),
        (
            ["--export_dir=x", "--model_name=m", "--port=70000"],
            "--port=70000: expected a port up to 65535. Choose for example 8501.",
        ),
        (
            ["--export_dir=/no/such", "--model_name=m"],
            "--export_dir=/no/such is not a folder.",
        ),
        (
            ["--export_dir=set [1]", "--model_name=m"],
            "--export_dir is 'set [1]', and TensorFlow reads [ in the path",
        ),
    ],
)
def test_wrong_flags_are_errors_of_one_line(arguments, text):
    status, _, errors = command(*arguments)
    assert status == 2
    assert text in errors
    assert "Traceback" not in errors


def test_a_port_in_use_is_an_error_of_one_line(tmp_path):
    with server_process.serving(tmp_path) as other:
        status, _, errors = command(
            f"--export_dir={tmp_path}", "--model_name=m", f"--port={other.port}"
        )
    assert status == 1
    assert f"Cannot listen on --host=127.0.0.1 --port={other.port}" in errors
    assert "Traceback" not in errors
