"""Lists of classes as tools write them: read as they mean it, or refused."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import datasets, errors
from tests.support import commands, trees
from tfrecords_tools import inspect
from tfrecords_tools.converters import class_lists, source_files

NAMES = ("sky", "car park", "road")
COLORS = ((128, 128, 128), (64, 0, 128), (0, 200, 7))
# What the program or data set writes; the classes are those above.
NAMED = {
    "names.txt": "sky\ncar park\nroad\n",
    "windows.txt": "\ufeffsky\r\n\r\ncar park\r\n# a comment\r\nroad",
    "labelme.txt": "__ignore__\nsky\ncar park\nroad\n",
    "coco_stuff.txt": "0: sky\n1: car park\n2: road\n",
    "tflite.txt": "0 sky\n1 car park\n2  road\n",
    "dots.txt": "0. sky\n1. car park\n2. road\n",
    "order.txt": "2\troad\n0\tsky\n1\tcar park\n",
    "void.txt": "0,sky\n1,car park\n2,road\n255,void\n",
    "unlabeled.txt": "-1 license plate\n0 sky\n1 car park\n2 road",
    "label2id.txt": "sky: 0\ncar park: 1\nroad: 2\n",
    "_classes.csv": "Pixel Value, Class\n0, sky\n1, car park\n2, road\n",
    "ids.tsv": "id\tname\n0\tsky\n1\tcar park\n2\troad\n",
    "one_column.csv": "name\nsky\ncar park\nroad\n",
    "list.json": json.dumps(NAMES),
    "id2label.json": json.dumps(dict(enumerate(NAMES))),
    "config.json": json.dumps({"id2label": dict(enumerate(NAMES)), "x": 1}),
    "label2id.json": json.dumps({name: i for i, name in enumerate(NAMES)}),
}
COLORED = {
    "class_dict.csv": "name,r,g,b\n{0},128,128,128\n{1},64,0,128\n{2},0,200,7\n",
    "excel.csv": "Name;R;G;B\n{0};128;128;128\n{1};64;0;128\n{2};0;200;7\n",
    "quoted.csv": '"name","r","g","b"\n"{0}",128,128,128\n"{1}",64,0,128\n{2},0,200,7',
    "channels_first.csv": "r,g,b,name\n128,128,128,{0}\n64,0,128,{1}\n0,200,7,{2}\n",
    "ids.csv": "id,name,r,g,b\n2,{2},0,200,7\n0,{0},128,128,128\n1,{1},64,0,128\n",
    "hex.csv": "name,color\n{0},#808080\n{1},#400080\n{2},#00c807\n",
    "no_header.csv": "{0},128,128,128\n{1},64,0,128\n{2},0,200,7\n",
    "label_colors.txt": "128 128 128\t{0}\n64 0 128\t\t{1}\n0 200 7\t{2}\n",
    "commas.txt": "128,128,128,{0}\n64,0,128,{1}\n0,200,7,{2}\n",
    "last.txt": "{0} 128 128 128\n{1} 64 0 128\n{2} 0 200 7\n",
    "lists.txt": "{0}: [128, 128, 128]\n{1}: [64, 0, 128]\n{2}: (0, 200, 7)\n",
    "hex_last.txt": "{0} #808080\n{1}: #400080\n{2} #00c807\n",
    "hex_first.txt": "# a comment\n#808080 {0}\n#400080 {1}\n#00c807 {2}\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\n{0}:128,128,128::\n"
    "{1}:64,0,128:door,sign:\n{2}:0,200,7::drive\n",
    "qgis.txt": "# QGIS\n0,128,128,128,255,{0}\n1,64,0,128,255,{1}\n2,0,200,7,255,{2}",
    "snap.txt": '0 128 128 128 1 1 1 "{0}"\n1 64 0 128 1 1 1 "{1}"\n'
    '2 0 200 7 1 1 1 "{2}"\n',
    "slicer.ctbl": "0 {0} 128 128 128 255\n1 {1} 64 0 128 255\n2 {2} 0 200 7 255\n",
    "cvat.json": '[{{"name": "{0}", "color": "#808080", "attributes": []}},'
    '{{"name": "{1}", "color": "#400080"}}, {{"name": "{2}", "color": "#00c807"}}]',
    "meta.json": '{{"classes": [{{"title": "{0}", "color": "#808080"}}, '
    '{{"title": "{1}", "color": "#400080"}}, {{"title": "{2}", "color": "#00C807"}}]}}',
}


def read(folder, name, text):
    (folder / name).write_text(text, newline="")
    return class_lists.read_classes(str(folder / name))


@pytest.mark.parametrize("name", NAMED)
def test_lists_of_names_are_read(tmp_path, name):
    assert read(tmp_path, name, NAMED[name]).names == NAMES


@pytest.mark.parametrize("name", COLORED)
def test_lists_with_colors_are_read(tmp_path, name):
    found = read(tmp_path, name, COLORED[name].format(*NAMES))
    assert (found.names, found.colors) == (NAMES, COLORS)
    colors, classes = class_lists.read_colormap(str(tmp_path / name), None, {})
    assert classes.names == NAMES
    assert colors == tuple((color, i) for i, color in enumerate(COLORS))


def test_what_a_list_ignores_has_no_class(tmp_path):
    text = "id,name,r,g,b\n255,void,1,2,3\n0,sky,128,128,128\n1,road,0,200,7\n"
    found = read(tmp_path, "classes.csv", text)
    assert (found.names, found.ignored) == (("sky", "road"), ("void",))
    colors, _ = class_lists.read_colormap(str(tmp_path / "classes.csv"), found, {})
    assert dict(colors) == {(1, 2, 3): 255, (128, 128, 128): 0, (0, 200, 7): 1}
    found = read(tmp_path, "labels.txt", "__ignore__\n_background_\ncar\n")
    assert (found.names, found.background) == (("_background_", "car"), 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 wall\n2 sky\n", r"numbers its classes 1, 2, .*`label_offset=-1`"),
        ("0 wall\n2 sky\n", "numbers its classes 0, 2, expected 0, 1, 2"),
        ("0 wall\n0 sky\n", "numbers its classes 0, 0"),
        ("0 wall\nsky\n", "lines of different forms, such as '0 wall' and 'sky'"),
        ("wall 0\nsky 1\n", "number at the end of every line, such as 'wall 0'"),
        ("zone:1\nsky\n", "'zone:1' ends with a number, unlike other lines"),
        ("Idx\tRatio\tTrain\tVal\tName\n1\t.1\t2\t3\twall\n", "Ratio, Train, Val are"),
        ("name,r,g,b\nwall,1,2\nsky,1,2,3\n", "'wall,1,2' has 3 columns, the header 4"),
        ("name,r,g,b\nwall,1,2,x\nsky,1,2,3\n", r"'wall' the color \['1', '2', 'x'\]"),
        ("name,r,g,b\nwall,0.5,0,0\nsky,1,2,3\n", "expected three integers"),
        ("name,r,g,b\nwall,300,0,0\nsky,1,2,3\n", "a value above 255"),
        ("0.5 0.5 0.5 wall\n0.1 0.2 0.3 sky\n", "in the place of the name"),
        ("1 2\n3 4\n", "numbers its classes 1, 3"),
        ("road\nsky - 1 2 3 - 4\n", "place of the name"),
        ("0 #0102ff\n1 1 2 3\n", "lines of unclear form"),
        ("1 2 3\n3 4 5\n", "in the place of the name|unclear form"),
        ("names:\n- wall\n- sky\n", "'names:' in the place of the name"),
        ("- wall\n- sky\n", "'- wall' in the place of the name"),
        ("nc: 2\nnames: [wall, sky]\n", "'nc: 2' ends with a number"),
        (
            "item {\n  id: 1\n  name: 'wall'\n}\n",
            "unlike other lines|place of the name",
        ),
        ("<labels><label>wall</label></labels>\n", "in the place of the name"),
        ("'wall',\n'sky',\n", "in the place of the name"),
        ('{"wall": "sky"}', "expected an integer"),
        ('{"a": [1], "b": {}}', "in the place of a class|expected an integer"),
        ('[{"id": 3, "name": "wall"}, {"id": 4, "name": "sky"}]', "classes 3, 4, exp"),
        ("[1, 2]", "has 1 in the place of a class"),
        ("{wall", "is not a JSON file"),
        ("name\nwall\nsky\n", "'name', which looks like a heading"),
        ("wall\nWall\n", "'wall' and 'Wall', which differ only in case"),
        ("car park\ncar  park\n", "which differ only in"),
        ("#808080 wall\nsky\n", "may be a comment or a color"),
        ("wall #80808080\nsky #80808080\n", "in the place of the name"),
    ],
)
def test_other_lists_are_refused(tmp_path, text, reason):
    with pytest.raises(errors.UserError, match=reason):
        read(tmp_path, "classes.txt", text)


@pytest.mark.parametrize("name", datasets.list_datasets())
def test_the_classes_of_every_data_set_can_be_used(name):
    assert class_lists.read_classes(name).names == datasets.get(name).class_names


_NAME = st.text("abé 1,-()'/\"", min_size=1, max_size=8).map(str.strip)
_NAME = _NAME.filter(
    # Three numbers look like a color that was not understood, and are refused.
    lambda text: (
        text[:1].isalpha()
        and text[-1] not in ",=("
        and not re.search(r"\d\W+\d+\W+\d", text)
    )
)


@given(
    names=st.lists(
        _NAME, min_size=2, max_size=6, unique_by=lambda n: n.replace(" ", "")
    ),
    form=st.sampled_from(["option", "header", "numbers", "json"]),
)
def test_any_name_survives_in_forms_that_quote(tmp_path_factory, names, form):
    if form == "option":
        if "1" in "".join(names):
            return  # "a 1" and "b 1" look numbered.
        text = source_files.join_commas(names)
        assert class_lists.read_classes(text).names == tuple(names)
        return
    rows = [
        f'{i},"{name.replace(chr(34), chr(34) * 2)}"' for i, name in enumerate(names)
    ]
    text = {
        "header": "\n".join(["id,name", *rows]),
        "numbers": "\n".join(f"{i}: {name}" for i, name in enumerate(names)),
        "json": json.dumps(names),
    }[form]
    if form == "numbers" and any(c.isdigit() or c in '"' for n in names for c in n):
        return
    folder = tmp_path_factory.getbasetemp()
    assert read(folder, "classes.txt", text).names == tuple(names)


@pytest.mark.parametrize("name", ["road 128-64-128", "a1/1/1"])
def test_a_name_with_three_numbers_is_refused(tmp_path, name):
    with pytest.raises(errors.UserError, match=f"has '{name}' in the place of"):
        read(tmp_path, "classes.txt", json.dumps([name, "b"]))


def test_the_doctor_uses_the_colors_of_the_classes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "class_dict.csv").write_text(COLORED["class_dict.csv"].format(*NAMES))
    for i in range(4):
        trees.save(tmp_path / f"i/{i}.png", trees.image(i, 20, 32))
        table = np.array(COLORS, np.uint8)
        trees.save(tmp_path / f"m/{i}.png", table[trees.label(i, 3, 20, 32)][..., ::-1])
    given = ["--images=i", "--masks=m", "--classes=class_dict.csv"]
    assert commands.run(inspect.main, *given) == 2
    out = capsys.readouterr().out
    assert "--colormap=class_dict.csv" in out and "guess" not in out
    assert commands.run(inspect.main, *given, "--colormap=class_dict.csv") == 0
