"""docs/datasets.md lists every data set with its numbers and its command."""

import pathlib
import re

from kerasseg import datasets

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "datasets.md").read_text()
SETS = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", TEXT, re.M)


def test_every_data_set_is_on_the_page_with_its_numbers():
    listed = [f"| `{name}` | {count} | {splits} |" for name, count, splits in SETS]
    expected = []
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        counts = [f"{split} {count:,}" for split, count in spec.num_images.items()]
        expected.append(f"| `{name}` | {spec.num_classes} | {', '.join(counts)} |")
        assert f"--dataset={name} " in TEXT or name == "shapes", name
    assert listed == expected  # The rows to write in docs/datasets.md.
