"""More miniature data sets, in the folders and files that their authors publish."""

import json

import numpy as np

from tests.support import trees


def numbers(seed, values, height=12, width=16):
    """Draws the values of a source's label, in blocks of four pixels."""
    return np.array(values)[trees.label(seed, len(values), height, width)]


def cityscapes(folder, images):
    """Writes a Cityscapes.

    Args:
        folder: Where leftImg8bit, gtFine and gtCoarse go.
        images: By "<part>/<city>/<name>": the ids of its label, which is coarse where
            the part is "train_extra"; one of "train" has both.
    """
    for stem, ids in images.items():
        trees.save(folder / "leftImg8bit" / f"{stem}_leftImg8bit.png", trees.image(1))
        part = stem.split("/")[0]
        kinds = {"train": ("gtFine", "gtCoarse"), "train_extra": ("gtCoarse",)}
        for kind in kinds.get(part, ("gtFine",)):
            for ending in ("labelIds", "instanceIds", "color"):  # Only one is used.
                path = folder / kind / f"{stem}_{kind}_{ending}.png"
                trees.save(path, ids.astype(np.uint8))
    return folder


def ade20k(folder, images):
    """Writes an ADEChallengeData2016 of "<part>/<name>": numbers 0 to 150."""
    for stem, label in images.items():
        trees.save(folder / "images" / f"{stem}.jpg", trees.image(1))
        trees.save(folder / "annotations" / f"{stem}.png", label.astype(np.uint8))
    (folder / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    return folder


def pascal_context(folder, splits, label):
    """Writes a VOC2010 with PASCAL-Context's trainval: names by split, one label."""
    from scipy import io as scipy_io

    for split, names in splits.items():
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
        for name in names:
            trees.save(folder / "JPEGImages" / f"{name}.jpg", trees.image(1))
            (folder / "trainval").mkdir(exist_ok=True)
            path = folder / "trainval" / f"{name}.mat"
            scipy_io.savemat(path, {"LabelMap": label}, do_compression=True)
    return folder


def coco_file(path, images, names):
    """Writes an annotation file of COCO's kind.

    Args:
        path: Where to.
        images: By file name: height, width, and its annotations: dicts without
            "id" and "image_id".
        names: Name by category id.
    """
    listed, annotations = [], []
    for number, (file_name, (height, width, own)) in enumerate(images.items(), 1):
        listed.append(
            {"id": 7 * number, "file_name": file_name, "height": height, "width": width}
        )
        for annotation in own:
            number = len(annotations) + 1
            annotations.append(
                {"id": number, "image_id": listed[-1]["id"], **annotation}
            )
    categories = [{"id": i, "name": name} for i, name in names.items()]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco(folder, parts):
    """Writes a COCO 2017, with the images of `coco_file` by part ("train2017")."""
    from kerasseg import datasets

    gaps = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    ids = [i for i in range(1, 91) if i not in gaps]
    things = datasets.get("coco").class_names[1:]
    names = dict(zip(ids, things, strict=True))
    for part, images in parts.items():
        coco_file(folder / "annotations" / f"instances_{part}.json", images, names)
        for file_name, (height, width, _) in images.items():
            trees.save(folder / part / file_name, trees.image(1, height, width))
    return folder


def nyu_depth_v2(folder, labels, splits):
    """Writes NYU Depth V2's labeled file, HDF5 as MATLAB 7.3 writes it.

    Args:
        folder: Where to.
        labels: Numbers 0 to 894, uint16 `[images, height, width]`.
        splits: Numbers of images, from 1, by "trainNdxs" and "testNdxs".

    Returns:
        The images, RGB uint8 `[images, height, width, 3]`.
    """
    import h5py
    from scipy import io as scipy_io

    folder.mkdir(parents=True)
    height, width = labels.shape[1:]
    images = np.stack([trees.image(i, height, width) for i in range(len(labels))])
    with h5py.File(
        folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512
    ) as file:
        # MATLAB's [height, width, 3, images] is in reverse order in HDF5.
        file["images"] = images.transpose(0, 3, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1)
        file["depths"] = np.zeros(labels.shape, np.float32).transpose(0, 2, 1)
    columns = {key: np.array(value, float)[:, None] for key, value in splits.items()}
    scipy_io.savemat(folder / "splits.mat", columns)
    return images


_SUN = "/n/fs/sun3d/data/SUNRGBD"  # On the authors' machine.


def sun_rgbd(folder, images, splits):
    """Writes SUNRGBD and SUNRGBDtoolbox.

    Args:
        folder: Where to.
        images: By scene, as "kv1/NYUdata/NYU0001": the numbers 0 to 37 of its label.
        splits: Scenes by "alltrain" and "alltest".
    """
    import h5py
    from scipy import io as scipy_io

    toolbox = folder / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    (toolbox / "traintestSUNRGBD").mkdir()
    metas = np.zeros((1, len(images)), [(x, "O") for x in ("K", "rgbpath", "rgbname")])
    for meta, scene in zip(metas[0], images, strict=True):
        name = f"{scene.split('/')[-1]}.jpg"
        trees.save(folder / "SUNRGBD" / scene / "image" / name, trees.image(1))
        meta["K"], meta["rgbname"] = np.eye(3), name
        meta["rgbpath"] = f"{_SUN}/{scene}/image/{name}"
    scipy_io.savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", {"SUNRGBDMeta": metas})
    path = toolbox / "Metadata" / "SUNRGBD2Dseg.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        references = []
        for i, label in enumerate(images.values()):
            file[f"#refs#/{i}"] = label.T.astype(np.uint8)
            references.append(file[f"#refs#/{i}"].ref)
        file.create_dataset(
            "SUNRGBD2Dseg/seglabel",
            data=np.array(references, h5py.ref_dtype)[:, None],
            dtype=h5py.ref_dtype,
        )
    cells = {}
    for key, scenes in splits.items():
        cells[key] = np.empty((1, len(scenes)), object)
        cells[key][0] = [f"{_SUN}/{scene}" for scene in scenes]
    scipy_io.savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", cells)
    return folder


def sift_flow(folder, names, test, label):
    """Writes a SiftFlowDataset of these names and one label, 0 to 33."""
    from scipy import io as scipy_io

    inner = "spatial_envelope_256x256_static_8outdoorcategories"
    classes = np.array(["awning", "balcony"], object)  # And 31 more.
    for name in names:
        trees.save(folder / "Images" / inner / f"{name}.jpg", trees.image(1))
        path = folder / "SemanticLabels" / inner / f"{name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy_io.savemat(path, {"S": label, "names": classes})
    (folder / "TestSet1.txt").write_text(
        "".join(f"{inner}\\{name}.jpg\r\n" for name in test)
    )
    return folder


def pascal_person_part(voc, splits, label):
    """Writes pascal_person_part into a VOC: names by split, one palette label."""
    folder = voc / "pascal_person_part"
    (folder / "pascal_person_part_trainval_list").mkdir(parents=True)
    for split, names in splits.items():
        lines = []
        for name in names:
            trees.save(voc / "JPEGImages" / f"{name}.jpg", trees.image(1))
            trees.save_palette(folder / "pascal_person_part_gt" / f"{name}.png", label)
            lines.append(f"/JPEGImages/{name}.jpg /pascal_person_part_gt/{name}.png\n")
        path = folder / "pascal_person_part_trainval_list" / f"{split}.txt"
        path.write_text("".join(lines))
    return voc


def tfds(folder, name, splits, *, labels=None, **more):
    """Writes a data set as TensorFlow Datasets prepares it, in two files per split.

    Args:
        folder: Its data_dir.
        name: The set's name.
        splits: By split: pairs of RGB `[height, width, 3]` and numbers
            `[height, width]`, uint8.
        labels: Names of the classes, where the set has them.
        **more: Further features, by name; none has a value.
    """
    import tensorflow_datasets as library

    from kerasseg import records

    mask = library.features.Image(shape=(None, None, 1))
    if labels:
        mask = library.features.LabeledImage(labels=labels, shape=(None, None, 1))
    own = {"image": library.features.Image(), "segmentation_mask": mask}
    data_dir = folder / name / "1.2.3"
    data_dir.mkdir(parents=True)
    infos = []
    for split, images in splits.items():
        serialized = [
            library.features.FeaturesDict(own).serialize_example(
                {"image": image, "segmentation_mask": numbers[..., None]}
            )
            for image, numbers in images
        ]
        parts = [serialized[::2], serialized[1::2]]
        for i, part in enumerate(parts):
            file = data_dir / f"{name}-{split}.tfrecord-{i:05d}-of-00002"
            records.write_shard(file, part)
        lengths = [len(part) for part in parts]
        infos.append(library.core.SplitInfo(split, lengths, num_bytes=0))
    library.folder_dataset.write_metadata(
        data_dir=data_dir,
        features=library.features.FeaturesDict({**own, **more}),
        split_infos=infos,
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )
    return folder
