"""A trained network with the names and colors of its classes, and its loading."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.images import class_rules, palettes
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import segmentation, sources, tflite
from kerasseg.system import files, path_checks
from kerasseg.workdir import layout, metadata

_SAVED_MODEL = "saved_model.pb"
_MAX_LISTED = 5  # Class names that `repr` lists.
_EXPORTED_CLASSES = os.path.join("assets", "classes.json")


class Segmenter:
    """A trained network that segments images of any size.

    Args:
        model: See `Predictor`; or a `TFLiteModel`.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        rule: How the logits become a mask.
        image_kind: Channels and type of the images that it takes.
        **options: Keyword arguments of `Predictor`: scales, flip, fusion, tile_size.

    Attributes:
        model: The Keras model, or the callable of an exported one.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        rule, image_kind: As given.
        predictor: The `Predictor` of the model, for batches; of a TFLite file, the
            `TFLitePredictor`.
    """

    def __init__(
        self,
        model: Callable | tflite.TFLiteModel,
        class_names: tuple[str, ...],
        palette: np.ndarray,
        *,
        rule: ClassRule = DEFAULT_RULE,
        image_kind: images.ImageKind = images.RGB,
        **options,
    ):
        self.model = model
        self.class_names = class_names
        self.palette, self.rule = palette, rule
        self.image_kind = image_kind
        rule.check(len(class_names))
        self.predictor = _predictor(model, rule, options)

    def predict(self, image: Any) -> segmentation.Segmentation | sources.Segmentations:
        """Predicts the class of each pixel of one image or several.

        Args:
            image: A path, bytes, a PIL image or an array, see `sources.as_raster`; or
                several: a list or another iterable of these, or the path of a folder
                or a video, see `sources.several`.

        Returns:
            The `Segmentation`: an array of class numbers, uint8 `[height, width]`, with
            the image, the class names and the probabilities. Of several images an
            iterator, which predicts one when it is requested.

        Raises:
            errors.UserError: It is not an image, the file is damaged, the folder is
                empty, or the logits are NaN. An image of several that cannot be read
                becomes a `FailedImage` instead.
        """
        return sources.predict(image, self._segment, self.image_kind)

    def _segment(self, image, name):
        mask = self.predictor.classes(image[np.newaxis], names=[name] * bool(name))[0]
        return segmentation.Segmentation(
            mask,
            self.image_kind.view(image),
            self.class_names,
            self.palette,
            source=name,
            predict_probabilities=lambda _: self.probabilities(image),
            rule=self.predictor.rule,
        )

    def probabilities(self, image: Any) -> np.ndarray:
        """Predicts the probability of each class at each pixel of one image.

        Args:
            image: One image, as in `predict`.

        Returns:
            float32 `[height, width, num_classes]`; each pixel's sum is 1.

        Raises:
            errors.UserError: As in `predict`.
        """
        pixels = sources.as_raster(image, self.image_kind).pixels
        return self.predictor.probabilities(pixels[np.newaxis])[0]

    def __repr__(self):
        return _text(self)


class InstanceSegmenter:
    """A trained network that detects objects in images of any size.

    Args:
        model: See `Detector`.
        class_names: Name of each class, the background first.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        **options: Keyword arguments of `Detector`: min_side, max_side.

    Attributes:
        model: The Keras model, or the callable of an exported one.
        class_names: Name of each class, the background first.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        detector: The `Detector` of the model.
    """

    def __init__(
        self,
        model: Callable,
        class_names: tuple[str, ...],
        palette: np.ndarray,
        **options,
    ):
        from kerasseg.inference.detector import Detector  # Starts TensorFlow.

        self.model = model
        self.class_names = class_names
        self.palette = palette
        self.image_kind = images.RGB
        self.detector = Detector(model, **options)

    def detect(self, image: Any) -> images.Detections:
        """Detects the objects of one image.

        Args:
            image: One image, as in `Segmenter.predict`.

        Returns:
            Boxes, scores, classes and masks, the best first.

        Raises:
            errors.UserError: The array or file is not an image.
        """
        return self.detector.detect(sources.as_image(image))

    def predict(
        self, image: Any, min_score: float = images.MIN_SCORE
    ) -> segmentation.Segmentation | sources.Segmentations:
        """Predicts the class of each pixel: that of the best object there.

        Args:
            image: As in `Segmenter.predict`.
            min_score: Smallest score of an object.

        Returns:
            As in `Segmenter.predict`; class 0 is where there is no object, and
            `detections` are the objects.

        Raises:
            errors.UserError: As in `Segmenter.predict`.
        """

        def segment(pixels, name):
            found = self.detector.detect(pixels).above(min_score)
            return segmentation.Segmentation(
                found.class_map(pixels.shape[:2]),
                pixels,
                self.class_names,
                self.palette,
                source=name,
                detections=found,
            )

        return sources.predict(image, segment)

    def __repr__(self):
        return _text(self)


def _predictor(model, rule, options):
    if isinstance(model, tflite.TFLiteModel):
        return tflite.TFLitePredictor(model, rule=rule, **options)
    from kerasseg.inference.predictor import Predictor  # Starts TensorFlow.

    return Predictor(model, rule=rule, **options)


def _text(network):
    names = network.class_names
    listed = ", ".join(names[:_MAX_LISTED])
    more = f" and {len(names) - _MAX_LISTED} more" * (len(names) > _MAX_LISTED)
    model = getattr(network.model, "name", "exported model")
    kind = type(network).__name__
    return f"<{kind} {model}, {len(names)} classes: {listed}{more}>"


def load(
    path: str | os.PathLike,
    *,
    output_stride: int | None = None,
    trust: bool = False,
    **options,
) -> Segmenter | InstanceSegmenter:
    """Loads a trained network.

    Args:
        path: The workdir of a run, whose best model is loaded; a `.keras` file, whose
            classes are named by their numbers unless kerasseg saved it; or an export,
            or the TFLite file of one, which does not start TensorFlow.
        output_stride: 8, 16 or 32, for the workdir of a run; None: as it was trained.
        trust: Whether Python code in a `.keras` file may run.
        **options: Keyword arguments of `Predictor`: scales, flip, fusion, tile_size; or
            of `Detector`, for a network that detects objects.

    Raises:
        errors.MissingFileError: There is no trained network at `path`.
        errors.UserError: The file is damaged, its model does not segment images,
            `output_stride` does not apply, or an option is out of range.
    """
    path = check_exists(path)
    if os.path.exists(os.path.join(path, layout.BEST_METADATA)):
        return _load_workdir(path, output_stride, options)
    if output_stride is not None:
        raise errors.UserError(
            f"`output_stride={output_stride}` needs the workdir of a run, and {path} "
            f"is not one. Leave it out, or give the workdir."
        )
    if tflite.is_file(path):
        return load_export(path, **options)
    if os.path.isfile(path):
        return _load_file(path, trust, options)
    if _versions(path):
        return load_export(path, **options)
    raise errors.MissingFileError(
        f"{path} holds neither the best model of a run nor an export. Train with "
        f"python -m kerasseg.train, at least to its first validation."
    )


def check_exists(path: str | os.PathLike) -> str:
    """Returns the path of a trained network as text; does not start TensorFlow.

    Raises:
        errors.MissingFileError: It does not exist.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"{path} does not exist. Give the workdir of a run with a best model, a "
            f".keras file, or an export."
        )
    return path


def _load_workdir(path, output_stride, options):
    from kerasseg.workdir import best_model, class_names

    spec = metadata.read_spec(path)
    model = best_model.load_best(path, output_stride=output_stride)
    names = tuple(spec.class_names)
    if detects_objects(model):
        trained = metadata.read_metadata(path)
        sides = {key: trained.get(key) for key in ("min_side", "max_side")}
        options = {**sides, **_of_detector(options)}
        return InstanceSegmenter(model, names, spec.palette, **options)
    count = num_classes(model)
    if count != len(spec.class_names):
        raise errors.UserError(
            f"{path}: the model has {count} classes, dataset.json "
            f"{len(spec.class_names)}. Both must be of one run; train again."
        )
    rule, kind = class_names.rule_of(model), spec.image_kind
    return Segmenter(model, names, spec.palette, rule=rule, image_kind=kind, **options)


def detects_objects(model) -> bool:
    """Returns whether a Keras model detects objects, or else segments pixels."""
    output = getattr(model, "output", None)  # A model of another program may lack it.
    return isinstance(output, dict) and {"boxes", "masks"} <= set(output)


def _of_detector(options):
    """Checks the options of a command for a network that detects objects."""
    unused = {
        "scales": ((1.0,), (1,), None),
        "flip": (False,),
        "fusion": ("mean", None),
        "tile_size": (0, None),
    }
    for name, defaults in unused.items():
        value = options.get(name, defaults[0])
        value = tuple(value) if isinstance(value, list) else value
        if value not in defaults:
            if isinstance(value, tuple):
                value = ",".join(f"{scale:g}" for scale in value)
            raise errors.UserError(
                f"`{name}={value}` applies to networks that predict the class of each "
                f"pixel, and this one detects objects, in the whole image at one "
                f"scale. Leave it out."
            )
    return {k: v for k, v in options.items() if k in ("min_side", "max_side")}


def _load_file(path, trust, options):
    from kerasseg import models
    from kerasseg.inference import foreign_model
    from kerasseg.workdir import best_model, class_names

    model = best_model.load_file(path, trust=trust)
    detects = detects_objects(model) and model.name in models.list_models("instance")
    if not detects:
        foreign_model.check(model, path)
    names, colors = _classes(model, path)
    if detects:
        return InstanceSegmenter(model, names, colors, **_of_detector(options))
    rule, kind = class_names.rule_of(model), class_names.image_kind_of(model)
    return Segmenter(model, names, colors, rule=rule, image_kind=kind, **options)


def _classes(model, path):
    """Returns the names and colors that a `.keras` file holds, or numbers."""
    from kerasseg.workdir import class_names

    count = num_classes(model)
    names, colors = class_names.of_model(model) or ((), None)
    if len(names) == count:
        return names, colors
    return palettes.numbered(
        f"{path} holds "
        + (f"{len(names)} class names" if names else "no class names and colors"),
        count,
    )


def num_classes(model) -> int:
    """Returns the number of classes of a Keras model, including the background."""
    from kerasseg.models import outputs

    if detects_objects(model):  # With the background.
        scores, _ = model.get_layer("box_head").output
        return scores.shape[-1]
    return class_rules.num_classes(outputs.logits(model.output).shape[-1])


def load_export(
    export_dir: str | os.PathLike, **options
) -> Segmenter | InstanceSegmenter:
    """Loads a SavedModel or a TFLite file that `kerasseg.export` wrote.

    Args:
        export_dir: Folder of the versions, whose newest is loaded, or of one version;
            or the TFLite file of a version.
        **options: As in `load`.

    Raises:
        errors.MissingFileError: There is no version.
        errors.UserError: The version lacks its class names, or an option does not
            apply.
    """
    if tflite.is_file(export_dir):
        network = tflite.TFLiteModel(export_dir)
        described = tflite.describe(network)
        return Segmenter(network, **described._asdict(), **options)
    path_checks.check_model(export_dir, "export_dir")
    versions = _versions(export_dir)
    if not versions:
        raise errors.MissingFileError(
            f"{export_dir} does not hold an exported model: there is no "
            f"<version>/{_SAVED_MODEL}. Write one with python -m kerasseg.export, or "
            f"give a TFLite file of the export, such as 1/model_float32.tflite."
        )
    path = versions[-1]
    classes_file = path / _EXPORTED_CLASSES
    if not classes_file.exists():
        raise errors.UserError(
            f"{classes_file} is missing: {path} was not written by python -m "
            f"kerasseg.export, or is an incomplete copy. Export the model again."
        )
    classes = files.read_json(classes_file)
    names, palette = tuple(classes["class_names"]), classes["palette"]
    from kerasseg.inference import exported_model

    graph = path / _SAVED_MODEL
    files.check_regular(graph.stat(), graph)
    kind = images.ImageKind.from_json(classes.get("images", {}))
    model = exported_model.ExportedModel(path, kind.channels)
    colors = np.array(palette, np.uint8)
    if model.detects_objects:
        return InstanceSegmenter(model, names, colors, **_of_detector(options))
    rule = ClassRule.from_json(classes)
    return Segmenter(model, names, colors, rule=rule, image_kind=kind, **options)


def _versions(export_dir):
    """Lists the folders of an export's versions, the newest last."""
    folder = pathlib.Path(export_dir)
    if (folder / _SAVED_MODEL).exists():
        return [folder]
    folders = [p.parent for p in folder.glob(f"*/{_SAVED_MODEL}")]
    numbered = (p for p in folders if p.name.isdecimal())
    return sorted(numbered, key=lambda p: int(p.name))
