"""The order of the tests, and how often their garbage is collected."""

import gc

import hypothesis

# The time of an example depends on what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Files whose tests start processes and wait for them. They are run first: at the end
# one worker of pytest-xdist would wait for them while the others have nothing to do.
_LONG = (
    *("test_training_processes.py", "test_backends.py", "test_models.py"),
    *("test_exporting.py", "test_export.py", "test_cluster_processes.py"),
    *("test_asynchronous_processes.py", "test_training_faults.py", "test_rewrite.py"),
)


def pytest_collection_modifyitems(items):
    """Moves the tests of long files to the front; the others keep their order."""

    def rank(item):
        name = item.path.name
        return _LONG.index(name) if name in _LONG else len(_LONG)

    items.sort(key=rank)


def pytest_collection_finish(session):
    """Lets the garbage collector pass over the objects of TensorFlow and Keras.

    They live until the end, and a full collection visits all of them: 6 % of the time.
    """
    del session
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
