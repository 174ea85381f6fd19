"""Sections about a training on few labels: pseudo-labels and generated images."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kerasseg.datasets import DatasetSpec
from kerasseg.report import encoding, markup, tables
from kerasseg.report.markup import Markup, scrolled, section, tag


class FewLabels(NamedTuple):
    """What a run without the labels of all images has to show.

    Attributes:
        generated: Images of a generator in a row, RGB uint8 `[height, width, 3]`; None
            without a generator.
        step: Step at which they were generated.
        pseudo_labels: The numbers of the pseudo-labels on which the run was trained,
            see `inference.pseudo_labels.Counts.to_json`; None without pseudo-labels.
    """

    generated: np.ndarray | None = None
    step: int = 0
    pseudo_labels: Mapping | None = None


def generated_section(
    few_labels: FewLabels, budget: encoding.ImageBudget
) -> Markup | None:
    """Returns the section of generated images; None if there are none."""
    row = few_labels.generated
    if row is None:
        return None
    url = encoding.png_url(row)
    if not budget.reserve(url):
        return None
    height, width = row.shape[:2]
    image = tag(
        "img",
        src=url,
        alt="Images made by the generator.",
        width=width,
        height=height,
        data_zoom=True,
    )
    return section(
        "generated",
        "Generated images",
        tag(
            "p",
            f"What the generator made of fixed noise at step {few_labels.step:,}. "
            "The network learns to tell such images from real ones.",
            class_="note",
        ),
        scrolled("Generated images", tag("figure", image)),
    )


def pseudo_label_section(few_labels: FewLabels, spec: DatasetSpec) -> Markup | None:
    """Returns the section of pseudo-labels by class; None if there are none."""
    content = few_labels.pseudo_labels
    if content is None:
        return None
    titles = ["predicted", "kept"]
    titles += ["precision"] if content["compared_images"] else []

    def shown(values):
        share = values["predicted_pixels"] / max(content["pixels"], 1)
        return (share, values["coverage"], values["precision"])[: len(titles)]

    body = tables.of_classes(
        zip(spec.class_names, spec.palette, strict=True),
        titles,
        [map(tables.cell, shown(content["classes"][x])) for x in spec.class_names],
        map(markup.percent, shown({**content, "predicted_pixels": content["pixels"]})),
        "all",
    )
    return section(
        "pseudo-labels",
        "Pseudo-labels",
        tag("p", _explanation(content), class_="note"),
        scrolled("Pseudo-labels by class", body),
    )


def _explanation(content):
    text = (
        f"The labels of {content['images']:,} training images were predicted by "
        "another run. All values in percent. Predicted: of all pixels of these images, "
        "those that were predicted as the class. Kept: of these, the confident ones, "
        "which are labels."
    )
    if content["compared_images"]:
        text += (
            f" Precision: of the kept pixels of {content['compared_images']:,} images "
            "whose labels are known, those that are correct."
        )
    return text
