"""Scores the images of a folder, orders them, and writes what labeling them needs."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from kerasseg import errors, images
from kerasseg.images import visualization
from kerasseg.inference import files as inference_files
from kerasseg.inference import inputs, segmenter
from kerasseg.inference.labeling import preannotations, scores, selection
from kerasseg.inference.labeling.journal import Journal, Scored
from kerasseg.inference.labeling.query import Query, check_folders
from kerasseg.system import files, lock, names, progress

_MOST_ROWS = 20  # Of the contact sheet.
_SIDE = 400  # Pixels of its images.


@dataclasses.dataclass(frozen=True)
class Summary:
    """The outcome.

    Attributes:
        total: Number of files.
        resumed: Number of images that an earlier run had scored.
        chosen: Names of the chosen images, the most useful first.
        failures: A line "PATH: reason" for each file that was refused.
    """

    total: int
    resumed: int
    chosen: list[str]
    failures: list[str]


@dataclasses.dataclass
class _Chosen:
    """The prediction of a chosen image; its row of the contact sheet is reduced."""

    mask: np.ndarray
    row: list[np.ndarray]


def label_next(query: Query, paths: Mapping[str, pathlib.Path]) -> Summary:
    """Orders images by what labeling them would teach a network.

    Writes order.csv (name, score and rank of each image), next.txt (names of the chosen
    ones), contact_sheet.png (of at most 20), coco.json, cvat.xml, label_studio.json and
    label_studio_config.xml (predictions of the chosen ones), and failed.txt. A second
    call resumes where the first one stopped, and keeps the scores if only `count` and
    `diversity` have changed. Results of other settings are replaced.

    Args:
        query: The network and its options.
        paths: Images by name, see `inference.find_images`. Videos are refused.

    Raises:
        errors.UserError: The network cannot be loaded or detects objects, or the folder
            of the results contains images.
        lock.LockedError: Another program writes into the folder.
        OSError: A result cannot be written.
    """
    check_folders(paths, query.output_dir)
    network = _Network(query)
    os.makedirs(query.output_dir, exist_ok=True)
    with lock.hold(query.output_dir):
        journal = Journal(query.output_dir, query.settings())
        scored, failures, resumed = _score(network, paths, journal)
        order, chosen = _choose(network, paths, scored, failures)
        failed = [names.one_line(failures[name]) for name in sorted(failures)]
        _write_lists(query, order, scored, failed)
        _write_predictions(query, network, paths, chosen, scored)
    return Summary(len(paths), resumed, list(chosen), failed)


class _Network:
    """Predicts the probabilities of an image, and how uncertain each pixel is."""

    def __init__(self, query: Query):
        options = query.predictor.arguments()
        with errors.renamed({"scales": "eval_scales", "fusion": "eval_fusion"}):
            loaded = segmenter.load(
                query.workdir, output_stride=query.output_stride, **options
            )
        if isinstance(loaded, segmenter.InstanceSegmenter):
            raise errors.UserError(
                f"{query.workdir} detects objects, and scores need the probabilities "
                "of each pixel. Give a `workdir` of semantic segmentation."
            )
        if loaded.predictor.rule.multi_label:
            raise errors.UserError(
                "The uncertainty is that of classes that exclude each other, and this "
                "network is multi-label. Give a `workdir` of another network."
            )
        self.query = query
        self.class_names, self.palette = loaded.class_names, loaded.palette
        self._predictor, self.image_kind = loaded.predictor, loaded.image_kind
        self.rule = loaded.predictor.rule
        size = options["tile_size"]
        self._views = [
            type(self._predictor)(loaded.model, scales=(scale,), tile_size=size)
            for scale in query.predictor.scales
        ]

    def predict(self, item: inference_files.Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns the uncertainty and the probabilities of each pixel."""
        if self.query.score == "disagreement":
            return scores.disagreement(self._each_view(item))
        (probabilities,) = self._predictor.probabilities(
            item.image[np.newaxis], names=[item.text]
        )
        measure = scores.entropy if self.query.score == "entropy" else scores.margin
        return measure(probabilities), probabilities

    def _each_view(self, item) -> Iterator[np.ndarray]:
        for view in self._views:
            for step in (1, -1)[: 1 + self.query.predictor.flip]:
                image = np.ascontiguousarray(item.image[np.newaxis, :, ::step])
                (probabilities,) = view.probabilities(image, names=[item.text])
                yield probabilities[:, ::step]

    def __call__(self, paths, failures, text) -> Iterator[tuple]:
        """Predicts images; yields items, uncertainty and probabilities."""
        with progress.track(len(paths), unit="image", text=text) as bar:
            pixels, kind = self.query.max_pixels, self.image_kind
            for item in inference_files.read_images(paths, pixels, kind):
                if not item.reason:
                    try:
                        yield item, *self.predict(item)
                    except inference_files.FAILURES as error:
                        item.reason = inference_files.failure(item, error)
                if item.reason:
                    failures[item.name] = item.reason
                bar.update()


def _score(network, paths, journal):
    """Returns scores by name, reasons of failures by name, and how many were kept."""
    scored: dict[str, Scored] = {}
    failures: dict[str, str] = {}
    for name, path in paths.items():
        earlier = journal.find(name, path)
        if inputs.is_video(path):
            failures[name] = (
                f"{names.printable(path)}: a video cannot be labeled, save its frames "
                "as images"
            )
        elif earlier is not None:
            scored[name] = earlier
    remaining = {n: p for n, p in paths.items() if n not in {*scored, *failures}}
    resumed = len(scored)
    for item, uncertainty, probabilities in network(remaining, failures, "scoring"):
        score = round(float(uncertainty.mean(dtype=np.float64)), 6)
        features = scores.features(probabilities).round(6).tolist()
        scored[item.name] = Scored(score, features)
        journal.add(item.name, item.source, scored[item.name])
    return scored, failures, resumed


def _choose(network, paths, scored, failures):
    """Returns all names in order, and the predictions of the first ones.

    Images that have changed or vanished since they were scored become failures.
    """
    predicted: dict[str, _Chosen] = {}
    while True:
        order = _order(network.query, scored)
        chosen = order[: network.query.count]
        remaining = {name: paths[name] for name in chosen if name not in predicted}
        if not remaining:
            return order, {name: predicted[name] for name in chosen}
        for item, *prediction in network(remaining, failures, "predicting"):
            predicted[item.name] = _draw(network, item, *prediction)
        for name in remaining.keys() & failures.keys():
            del scored[name]


def _order(query, scored):
    listed = sorted(scored)
    order = selection.order_images(
        listed,
        [scored[name].score for name in listed],
        [np.array(scored[name].features) for name in listed],
        count=query.count,
        diversity=query.diversity,
    )
    return [listed[i] for i in order]


def _draw(network, item, uncertainty, probabilities):
    """Returns the mask, and the reduced image, overlay and uncertainty."""
    query = network.query
    mask = network.rule.mask_of_rows(probabilities)
    most = scores.largest(query.score, len(network.class_names), query.num_views)
    values = (255 * np.clip(uncertainty / most, 0, 1)).astype(np.uint8)
    heat = cv2.applyColorMap(values, cv2.COLORMAP_INFERNO)[..., ::-1]
    view = network.image_kind.view(item.image)
    shown = visualization.overlay(view, mask, network.palette)
    scale = min(1.0, _SIDE / max(mask.shape))
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    row = [view, shown, np.ascontiguousarray(heat)]
    return _Chosen(
        mask, [cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in row]
    )


def _write(query, name, data):
    files.write_bytes(os.path.join(query.output_dir, name), data)


def _write_lists(query, order, scored, failed):
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "score", "rank"])
    printable = {name: names.one_line(name) for name in order}
    for rank, name in enumerate(order, 1):
        writer.writerow([printable[name], f"{scored[name].score:.6f}", rank])
    _write(query, "order.csv", table.getvalue().encode())
    chosen = [printable[name] for name in order[: query.count]]
    _write(query, "next.txt", "".join(f"{name}\n" for name in chosen).encode())
    _write(query, "failed.txt", "".join(f"{line}\n" for line in failed).encode())


def _write_predictions(query, network, paths, chosen, scored):
    """Writes the files for labeling tools, with names relative to the folder."""
    masks = {f"{name}{paths[name].suffix}": chosen[name].mask for name in chosen}
    about = network.class_names, network.palette
    _write(query, "coco.json", preannotations.coco(masks, about[0]))
    _write(query, "cvat.xml", preannotations.cvat(masks, *about))
    _write(query, "label_studio.json", preannotations.label_studio(masks, about[0]))
    _write(query, "label_studio_config.xml", preannotations.label_studio_config(*about))
    sheet = pathlib.Path(query.output_dir, "contact_sheet.png")
    if not chosen:
        sheet.unlink(missing_ok=True)
        return
    shown = list(chosen)[:_MOST_ROWS]
    drawn = visualization.contact_sheet(
        [chosen[name].row for name in shown],
        captions=("image", "prediction", f"{query.score}, brighter: uncertain"),
        row_captions=[
            f"{i}. {names.one_line(name)}: {scored[name].score:.4f}"
            for i, name in enumerate(shown, 1)
        ],
        legend=about,
        max_width=3 * (_SIDE + 10),
    )
    files.write_bytes(sheet, images.encode_image(drawn))
