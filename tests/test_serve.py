"""The command serve as a process of its own, with a network of TensorFlow."""

import base64
import signal
import subprocess
import sys

import pytest
import requests

from kerasseg import images
from tests import levels, served, server_process


def command(*arguments):
    """Runs the command; returns its exit status and what it prints."""
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
        status, _, mask = server.ask("POST", "/segment", served.FILE)
        assert (status, images.read_label(mask).tolist()) == (200, levels.CLASSES)
        pixels = levels.IMAGE.tolist()
        body = {"signature_name": "tensor", "instances": [pixels]}
        status, answer = server.json("POST", "/v1/models/levels:predict", body)
        assert answer["predictions"][0]["classes"] == levels.CLASSES
        _, facts = server.json("GET", "/v1/models/levels/metadata")
        file = {"b64": base64.b64encode(served.FILE).decode()}
        answer = requests.post(
            f"http://127.0.0.1:{server.port}/v1/models/levels:predict",
            json={"instances": [file]},
            timeout=30,
        )
        (mask,) = answer.json()["predictions"]
        assert images.read_label(base64.b64decode(mask["b64"])).tolist() == (
            levels.CLASSES
        )
        signatures = facts["metadata"]["signature_def"]["signature_def"]
        assert set(signatures) >= {"serving_default", "tensor"}
        assert server.json("GET", "/model")[1]["classes"][2]["name"] == "right"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()


def test_help_starts_no_tensorflow():
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
        ([], "Needed and not given: --export_dir, --model_name."),
        (["--export_dir=x", "--model_name=a/b"], "name without / and :"),
        (
            ["--export_dir=x", "--model_name=m", "--decoders=0"],
            "--decoders=0 is too little",
        ),
        (
            ["--export_dir=x", "--model_name=m", "--port=70000"],
            "--port=70000 is no port; give one up to 65535, such as 8501.",
        ),
        (["--export_dir=/no/such", "--model_name=m"], "/no/such is no folder; write"),
    ],
)
def test_wrong_flags_are_told_in_a_line(arguments, text):
    status, _, errors = command(*arguments)
    assert status == 2
    assert text in errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_told_in_a_line(tmp_path):
    with server_process.serving(tmp_path) as other:
        status, _, errors = command(
            f"--export_dir={tmp_path}", "--model_name=m", f"--port={other.port}"
        )
    assert status == 1
    assert f"--port={other.port} cannot be listened on" in errors
    assert "Traceback" not in errors
