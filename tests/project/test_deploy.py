"""The files in deploy/: valid, and in agreement with the flags of the server."""

import ast
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import typing

import pytest
import yaml

from kerasseg.serve import app
from kerasseg.serve.settings import Settings

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PREFIX = "KERASSEG_"
DEFAULTS = Settings(export_dir=".", model_name="m")
PORTS = {8501, 8500}  # Of TensorFlow Serving: HTTP and gRPC.
MARGIN = 5  # Seconds, of the end of a process.


def text_of(name):
    return (DEPLOY / name).read_text("utf-8")


def dockerfile():
    """Returns the instructions as pairs of keyword and arguments, lines joined."""
    lines = re.sub(r"^\s*#.*\n", "", text_of("Dockerfile"), flags=re.M)
    joined = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [tuple(line.split(" ", 1)) for line in joined if line]


def instruction(keyword):
    """Returns the arguments of the last instruction of a kind."""
    return [arguments for found, arguments in dockerfile() if found == keyword][-1]


def instruction_with(text):
    """Returns the arguments of the first instruction that contains a text."""
    return next(arguments for _, arguments in dockerfile() if text in arguments)


def compose():
    """Returns the text of the compose file, with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text_of("compose.yaml"))


def services():
    return yaml.safe_load(compose())["services"]


def kubernetes():
    """Returns the objects by kind."""
    documents = list(yaml.safe_load_all(text_of("kubernetes.yaml")))
    assert len({each["kind"] for each in documents}) == len(documents)
    return {each["kind"]: each for each in documents}


def pod():
    return kubernetes()["Deployment"]["spec"]["template"]["spec"]


def container():
    (only,) = pod()["containers"]
    return only


def unit():
    """Returns the values of the unit by name, those of repeated names as a list."""
    found = {}
    for line in text_of("kerasseg-serve.service").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def variables():
    """Returns the environment of each file."""
    pairs = re.compile(r"^(\w+)=(.*)$", re.M)
    image = dict(word.split("=", 1) for word in instruction("ENV").split())
    in_pod = {each["name"]: each["value"] for each in container()["env"]}
    return {
        "Dockerfile": image,
        "compose.yaml": {**image, **services()["serve"]["environment"]},
        "kubernetes.yaml": {**image, **in_pod},
        "serve.env": dict(pairs.findall(text_of("serve.env"))),
    }


def settings_of(name):
    """Returns the settings that the variables of a file make."""
    hints = typing.get_type_hints(Settings)
    given = {
        variable.removeprefix(PREFIX).lower(): value
        for variable, value in variables()[name].items()
        if variable.startswith(PREFIX)
    }
    return Settings(**{key: hints[key](value) for key, value in given.items()})


def test_every_file_is_tested():
    names = {path.name for path in DEPLOY.iterdir()}
    assert names == {
        *("Dockerfile", "Dockerfile.dockerignore", "compose.yaml"),
        *("kerasseg-serve.service", "kubernetes.yaml", "serve.env"),
    }


@pytest.mark.parametrize("name", variables())
def test_the_variables_are_flags_with_valid_values(name, tmp_path):
    chosen = settings_of(name)
    assert chosen.export_dir.startswith("/")
    Settings(**{**vars(chosen), "export_dir": str(tmp_path)}).check()
    named = set(re.findall(rf"\b{PREFIX}(\w+)", text_of(name)))
    assert named <= {each.upper() for each in vars(chosen)}


def test_the_flags_that_comments_name_exist():
    for path in DEPLOY.iterdir():
        for name in re.findall(r"--(\w+_\w+)", path.read_text("utf-8")):
            assert name in vars(DEFAULTS), f"{path.name}: --{name}"


def test_a_variable_for_the_number_of_threads_fits_the_limit_of_cores():
    compose_limit = services()["serve"]["deploy"]["resources"]["limits"]["cpus"]
    threads = variables()["compose.yaml"]["TF_NUM_INTRAOP_THREADS"]
    assert threads == compose_limit
    limit = container()["resources"]["limits"]["cpu"]
    assert variables()["kubernetes.yaml"]["TF_NUM_INTRAOP_THREADS"] == limit


# The image.


def test_the_image_runs_the_server_without_being_root():
    assert json.loads(instruction("ENTRYPOINT")) == ["kerasseg", "serve"]
    user, group = instruction("USER").split(":")
    assert int(user) >= 1000 and int(group) >= 1000
    assert f"--uid {user} " in instruction("RUN")
    assert "CMD" not in [keyword for keyword, _ in dockerfile()]
    assert set(map(int, instruction("EXPOSE").split())) == PORTS
    # The last stage has what the first one has installed.
    build, final = [
        arguments for keyword, arguments in dockerfile() if keyword == "FROM"
    ]
    assert build == f"{final} AS build"
    folder = instruction("COPY").split()[-1]
    assert instruction("COPY") == f"--from=build {folder} {folder}"
    assert f"python -m venv {folder} " in instruction_with("pip install")
    assert variables()["Dockerfile"]["PATH"].startswith(f"{folder}/bin:")


def test_the_commands_of_the_image_are_valid_and_its_extras_exist():
    for keyword, arguments in dockerfile():
        if keyword == "RUN":
            command = re.sub(r"^--mount=\S+ ", "", arguments)
            subprocess.run(["sh", "-n", "-c", command], check=True)
    known = ast.literal_eval(
        re.search(
            r"^EXTRAS = (\{.*?^\})", (ROOT / "setup.py").read_text(), re.M | re.S
        )[1]
    )
    extras = re.search(r"extras=([a-z,]+) ", instruction_with("pip install"))[1]
    assert set(extras.split(",")) <= set(known)


def test_the_build_has_every_file_that_the_package_needs():
    kept = re.findall(r"^!(\S+)$", text_of("Dockerfile.dockerignore"), re.M)
    for name in ("setup.py", "pyproject.toml", "README.md", "kerasseg/serve/page.html"):
        assert any(pathlib.PurePath(name).is_relative_to(each) for each in kept), name
        assert (ROOT / name).exists()


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_the_server_at_its_port(status):
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    options, command = instruction("HEALTHCHECK").split("CMD ")
    assert options.split()
    program, *arguments = json.loads(command)
    assert program == "python"
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = str(server.server_port)
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"KERASSEG_PORT": port},
            check=False,
            capture_output=True,
        )
    assert paths == ["/healthz"]
    assert (done.returncode == 0) == (status == 200)
    assert str(DEFAULTS.port) in command


@pytest.mark.slow
def test_hadolint_has_no_objection():
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed")
    subprocess.run([program, DEPLOY / "Dockerfile"], check=True)


# Docker Compose.


def test_the_compose_file_is_valid():
    spec = pytest.importorskip("compose_spec", reason="needs kerasseg[dev]")
    parsed = spec.PyCompose.from_yaml(compose())
    parsed.validate()
    assert sorted(parsed.service_names()) == ["serve", "serve-gpu"]
    stop = services()["serve"]["stop_grace_period"]
    assert spec.parse_duration(stop) >= DEFAULTS.grace_seconds + MARGIN
    with pytest.raises(ValueError, match="`readonly`"):
        spec.PyCompose.from_yaml(compose().replace("read_only:", "readonly:"))


def test_the_compose_file_publishes_the_server_on_this_machine_only():
    serve = services()["serve"]
    port = settings_of("compose.yaml").port
    assert serve["ports"] == [f"127.0.0.1:{port}:{port}"]
    (volume,) = serve["volumes"]
    assert volume.split(":")[1:] == [settings_of("compose.yaml").export_dir, "ro"]
    build = serve["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
    assert services()["serve-gpu"]["build"]["args"] == {"DEVICE": "gpu"}
    assert '[ "$DEVICE" = gpu ]' in instruction_with("pip install")


# Kubernetes.


def test_the_manifests_are_valid():
    validate = pytest.importorskip("kubernetes_validate", reason="needs kerasseg[dev]")
    for document in kubernetes().values():
        validate.validate(document, "1.30", strict=True)
    wrong = kubernetes()["Deployment"]
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, "1.30", strict=True)


def test_the_manifests_agree_with_each_other():
    found = kubernetes()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(each == labels for each in selectors)
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    chosen = settings_of("kubernetes.yaml")
    assert ports == {"http": chosen.port, "grpc": chosen.grpc_port}
    for each in found["Service"]["spec"]["ports"]:
        assert each["port"] == ports[each["targetPort"]]
    (rule,) = found["NetworkPolicy"]["spec"]["ingress"]
    assert {each["port"] for each in rule["ports"]} == set(ports)
    volumes = {each["name"]: each for each in pod()["volumes"]}
    mounts = {each["mountPath"]: each["name"] for each in container()["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    claim = volumes[mounts["/models"]]["persistentVolumeClaim"]["claimName"]
    assert claim == found["PersistentVolumeClaim"]["metadata"]["name"]
    assert chosen.export_dir.startswith("/models/")
    assert pod()["securityContext"]["runAsUser"] == int(
        instruction("USER").split(":")[0]
    )
    assert pod()["enableServiceLinks"] is False  # See `cli.environment`.


def test_the_probes_ask_routes_of_the_server_for_long_enough():
    probes = {name: container()[f"{name}Probe"] for name in ("startup", "liveness")}
    probes["readiness"] = container()["readinessProbe"]
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert set(paths.values()) <= set(app._UNCHECKED)  # Of any Host.
    assert paths == {
        "startup": "/readyz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    startup = probes["startup"]
    seconds = startup["periodSeconds"] * startup["failureThreshold"]
    assert seconds >= settings_of("kubernetes.yaml").load_seconds + MARGIN
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"http"}


def test_a_pod_ends_after_its_requests():
    command = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    needed = int(command[1]) + settings_of("kubernetes.yaml").grace_seconds + MARGIN
    assert pod()["terminationGracePeriodSeconds"] >= needed


# systemd.


def test_the_unit_ends_after_the_requests_and_is_not_restarted_after_wrong_flags():
    (seconds,) = unit()["TimeoutStopSec"]
    assert int(seconds.removesuffix("s")) >= DEFAULTS.grace_seconds + MARGIN
    assert unit()["RestartPreventExitStatus"] == ["2"]
    (command,) = unit()["ExecStart"]
    assert command.split()[0].endswith("/kerasseg") and command.split()[1:] == ["serve"]
    (environment,) = unit()["EnvironmentFile"]
    assert f"cp deploy/serve.env {environment}" in text_of("kerasseg-serve.service")
    # The descriptors that all connections need.
    assert int(unit()["LimitNOFILE"][0]) >= DEFAULTS.num_descriptors


def test_systemd_accepts_the_unit(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / "kerasseg-serve.service"
    (command,) = unit()["ExecStart"]
    installed = text_of(path.name).replace(command.split()[0], sys.executable)
    path.write_text(installed)
    found = [
        subprocess.run(
            [program, *arguments, path], capture_output=True, text=True, check=False
        )
        for arguments in (["verify"], ["security", "--offline=yes", "--threshold=20"])
    ]
    for each in found:
        assert each.returncode == 0, each.stdout + each.stderr
    assert not found[0].stderr
