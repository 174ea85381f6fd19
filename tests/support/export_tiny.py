"""One small export in a separate process, for tests that kill it.

python -m tests.support.export_tiny FOLDER
"""

import sys

from kerasseg import exporting
from tests.support import levels, tiny

if __name__ == "__main__":
    exporting.export_saved_model(
        levels.build_model(),
        sys.argv[1],
        class_names=tiny.SPEC.class_names,
        palette=tiny.SPEC.palette,
    )
