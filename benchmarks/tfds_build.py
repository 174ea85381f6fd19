"""Images per second of TensorFlow Datasets: the peer of build_records.py.

python benchmarks/tfds_build.py SOURCE

SOURCE is a folder of images, with labels of the same names in <SOURCE>annot. Both are
features of type Image, written by TensorFlow Datasets in its default format. Prints a
JSON line with "pictures_per_second".
"""

import json
import pathlib
import sys
import tempfile
import time

import tensorflow_datasets as tfds


class Images(tfds.core.GeneratorBasedBuilder):
    """Images and their labels, from two folders."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = pathlib.Path(__file__).parent

    def __init__(self, source, **options):
        self._source = pathlib.Path(source)
        super().__init__(**options)

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.Image(shape=(None, None, 1)),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        labels = self._source.with_name(self._source.name + "annot")
        for path in sorted(self._source.iterdir()):
            name = path.name
            yield name, {"image": path, "label": labels / name, "name": name}


def main(source: str) -> None:
    """Builds the data set once."""
    with tempfile.TemporaryDirectory() as folder:
        builder = Images(source, data_dir=folder)
        start = time.perf_counter()
        builder.download_and_prepare()
        seconds = time.perf_counter() - start
        count = builder.info.splits["train"].num_examples
    print(json.dumps({"pictures_per_second": count / seconds}))


if __name__ == "__main__":
    main(sys.argv[1])
