"""docs/datasets.md lists every data set with its numbers and its command."""

import pathlib
import re

from kerasseg import datasets

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "datasets.md").read_text()
SETS = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", TEXT, re.M)


def test_every_data_set_is_on_the_page_with_its_numbers():
    assert [name for name, *_ in SETS] == datasets.list_datasets()
    for name, num_classes, splits in SETS:
        spec = datasets.get(name)
        counts = [f"{split} {count:,}" for split, count in spec.num_images.items()]
        assert (int(num_classes), splits) == (spec.num_classes, ", ".join(counts))
        assert f"--dataset={name} " in TEXT or name == "shapes"
