r"""Images per second of the dense CRF, compared with a peer.

python benchmarks/crf.py --image=FILE --peer=SCRIPT [--live_labels=5]

The image is resized to 500 x 375. The probabilities are synthetic: 21 classes, of which
only the first --live_labels have a noticeable probability anywhere. Our side refines
copies of the image on all cores, as kerasseg.evaluate and kerasseg.predict do, from
probabilities to masks in the order of the images. The peer is a script that takes the
image and --live_labels and prints a JSON line with "seconds_per_picture". Its functions
`smooth_probabilities` and `refine` return the probabilities and the expected mask. Both
sides run alternately, each in its own process. Prints the medians, the ratio of the
images per second (above 1: ours is faster) and the share of equal pixels as one JSON
line.
"""

import json
import runpy
import time

import cv2
import numpy as np
import sides
from absl import app, flags

from kerasseg import inference
from kerasseg.system import processes

flags.adopt_module_key_flags(sides)
_IMAGE = flags.DEFINE_string("image", None, "An image file.")
_LIVE = flags.DEFINE_integer(
    "live_labels", 5, "Number of classes with a noticeable probability."
)
flags.DEFINE_alias("picture", "image")
_ONLY = flags.DEFINE_bool("only_ours", False, "Run our side once, in this process.")

_HEIGHT, _WIDTH, _NUM_IMAGES = 375, 500, 24
_SETTINGS = {
    "crf_bilateral_sxy": 49.0,
    "crf_bilateral_srgb": 5.0,
    "crf_bilateral_compat": 4.0,
}


def ours(path: str, live_labels: int, peer: str) -> dict:
    """Measures images in parallel, and compares one of the masks with the peer's."""
    image = cv2.resize(cv2.imread(path), (_WIDTH, _HEIGHT))
    functions = runpy.run_path(peer)
    planes = functions["smooth_probabilities"](_HEIGHT, _WIDTH, live_labels)
    probabilities = np.ascontiguousarray(planes.transpose(1, 2, 0))
    cores = processes.num_cores()
    options = inference.InferenceOptions(crf=True, **_SETTINGS)
    with inference.start_refiner(options.crf_settings()) as refine:

        def refined(count):
            def one(_):
                return refine(image, probabilities)

            return list(processes.in_order(one, range(count), num_threads=cores))

        refined(2 * cores)  # All workers have started.
        start = time.perf_counter()
        masks = refined(_NUM_IMAGES)
        rate = _NUM_IMAGES / (time.perf_counter() - start)
    expected = functions["refine"](image, planes)
    return {
        "pictures_per_second": rate,
        "equal_labels": float(np.mean(masks[-1] == expected)),
    }


def main(argv):
    """Runs both sides alternately."""
    del argv
    image, live, peer = _IMAGE.value, _LIVE.value, flags.FLAGS.peer
    if _ONLY.value:
        print(json.dumps(ours(image, live, peer)))
        return
    live = f"--live_labels={live}"
    report = sides.measure(
        __file__,
        ["--only_ours", f"--image={image}", f"--peer={peer}", live],
        [image, live],
    )
    rate = report["ours_pictures_per_second"]
    report["ratio_to_peer"] = rate * report["peer_seconds_per_picture"]
    print(json.dumps(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["image", "peer"])
    app.run(main)
