r"""Pictures a second of the dense CRF, beside a peer.

python benchmarks/crf.py --picture=FILE --peer=SCRIPT [--live_labels=5]

The picture is made 500 x 375, what a network says of it is drawn: 21 classes, of which
the first so many have a chance anywhere. Our side refines copies of it on all cores, as
kerasseg.evaluate and kerasseg.predict do: probabilities in, class numbers out, in the
order of the pictures. The peer is a script that takes the picture and --live_labels and
prints a JSON line with "seconds_per_picture"; its functions `smooth_probabilities` and
`refine` say what is refined and which classes ours must find. Both run in turn, each in
a process of its own; the medians, the ratio of the pictures a second (above 1 is more)
and the share of equal classes are printed as one JSON line.
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
_PICTURE = flags.DEFINE_string("picture", None, "A picture file.")
_LIVE = flags.DEFINE_integer("live_labels", 5, "Classes that have a chance anywhere.")
_ONLY = flags.DEFINE_bool("only_ours", False, "One run of our side, in this process.")

_HEIGHT, _WIDTH, _PICTURES = 375, 500, 24
_SETTINGS = {
    "crf_bilateral_sxy": 49.0,
    "crf_bilateral_srgb": 5.0,
    "crf_bilateral_compat": 4.0,
}


def ours(picture, live_labels, peer) -> dict:
    """Measures pictures side by side, and compares the classes of one of them."""
    image = cv2.resize(cv2.imread(picture), (_WIDTH, _HEIGHT))
    theirs = runpy.run_path(peer)
    planes = theirs["smooth_probabilities"](_HEIGHT, _WIDTH, live_labels)
    probabilities = np.ascontiguousarray(planes.transpose(1, 2, 0))
    cores = processes.num_cores()
    options = inference.InferenceOptions(crf=True, **_SETTINGS)
    with inference.start_refiner(options.crf_settings()) as refine:

        def refined(count):
            def one(_):
                return refine(image, probabilities)

            return list(processes.in_order(one, range(count), num_threads=cores))

        refined(2 * cores)  # Every core has started and is at work.
        start = time.perf_counter()
        found = refined(_PICTURES)
        rate = _PICTURES / (time.perf_counter() - start)
    wanted = theirs["refine"](image, planes)
    return {
        "pictures_per_second": rate,
        "equal_labels": float(np.mean(found[-1] == wanted)),
    }


def main(argv):
    """Runs both sides in turn."""
    del argv
    picture, live, peer = _PICTURE.value, _LIVE.value, flags.FLAGS.peer
    if _ONLY.value:
        print(json.dumps(ours(picture, live, peer)))
        return
    live = f"--live_labels={live}"
    report = sides.measure(
        __file__,
        ["--only_ours", f"--picture={picture}", f"--peer={peer}", live],
        [picture, live],
    )
    rate = report["ours_pictures_per_second"]
    report["ratio_to_peer"] = rate * report["peer_seconds_per_picture"]
    print(json.dumps(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["picture", "peer"])
    app.run(main)
