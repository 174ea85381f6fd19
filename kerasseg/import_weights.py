r"""Converts weights that other programs trained into a network of kerasseg.

python -m kerasseg.import_weights --source=torchvision/deeplabv3_resnet50_coco_voc \
    --output=model.keras
python -m kerasseg.import_weights --source=hf:OWNER/NAME --output=network
python -m kerasseg.import_weights --source=weights.pth --output=model.keras
python -m kerasseg.import_weights --list

--source is the name of published weights, which are downloaded; or a file of PyTorch,
safetensors, TensorFlow or Keras, a folder of Hugging Face, or a preset of KerasHub,
whose network is recognized by the names and shapes of its arrays. Nothing in a file is
run. docs/weights.md lists what is recognized. --output is a .keras file, or a folder:
a workdir, for all commands with --workdir. Names can be given as --workdir directly.
"""

import json
import os
from collections.abc import Sequence

from absl import flags

from kerasseg import cli, errors, weights
from kerasseg.system import names, runtime

_SOURCE = flags.DEFINE_string(
    "source", None, "Name of published weights, or path of a file or folder."
)
_FAMILY = flags.DEFINE_string(
    "family",
    None,
    "Family of the weights, such as torchvision, where several recognize them.",
)
flags.declare_key_flag("output")
_ACCEPT_LICENSE = flags.DEFINE_bool(
    "accept_license",
    False,
    "Download weights whose license forbids commercial use.",
)
_LIST = flags.DEFINE_bool("list", False, "Print the names of published weights.")


def main(argv: Sequence[str]) -> None:
    """Turns flags into arguments of `weights.open_weights`."""
    del argv
    if _LIST.value:
        print(*weights.list_weights(), sep="\n")
        return
    given = cli.OUTPUT.value
    output = None if given is None else ",".join(given)  # A path with commas.
    source, output = cli.required(source=_SOURCE.value, output=output)
    _check_source(source)
    _check_output(output)
    runtime.start_tensorflow()
    from kerasseg.workdir import imported

    opened = weights.open_weights(
        source,
        kind="model",
        family=_FAMILY.value,
        accept_license=_ACCEPT_LICENSE.value,
    )
    imported.save(opened, output)
    _report(opened, output)


def _check_source(source):
    """Refuses a path that does not exist; prefixes of checkpoints are no paths."""
    paths = source, f"{source}.index"
    if not any(map(os.path.exists, paths)) and not weights.is_name(source):
        raise errors.MissingFileError(
            f"`source={names.printable(source)}` does not exist. Correct the path, or "
            f"give a name: python -m kerasseg.import_weights --list prints them."
        )


def _check_output(output):
    if os.path.exists(output):
        raise errors.UserError(
            f"`output={names.printable(output)}` exists. Give another name, or remove "
            "it first."
        )


def _report(opened, output):
    """Prints what was converted, and how it is used."""
    from kerasseg.workdir import imported

    network = opened.network
    options = json.dumps(imported.options_of(network))
    spec = imported.spec_of(opened)
    print(f"Network: {network.model} of {network.family}, with the options {options}")
    print(f"Classes ({spec.num_classes}): {', '.join(spec.class_names)}")
    print(f"Saved as {names.printable(output)}. In Python:")
    print(f"    kerasseg.load({os.fspath(output)!r}).predict('image.jpg')")


if __name__ == "__main__":
    cli.run(main)
