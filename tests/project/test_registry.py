"""Registries, and their names without the imports."""

import subprocess
import sys
import textwrap

import pytest

from kerasseg import errors, models
from kerasseg.system import registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Returns a function that writes modules and returns their registry's package."""
    folder = tmp_path / "registered_things"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from kerasseg.system import registry\n"
        "THINGS = registry.Registry('thing', __name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules):
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        return "registered_things"

    yield write
    for name in list(sys.modules):
        if name.startswith("registered_things"):
            del sys.modules[name]


MODULES = {
    "second": """
        from registered_things import THINGS

        @THINGS.register()
        def ball(): pass

        def not_a_thing(): pass
        """,
    "first": """
        import registered_things
        from registered_things import THINGS

        @THINGS.register("cube")
        class Cube: pass

        THINGS.register(name="another")(print)
        """,
    "__main__": "raise AssertionError('imported')",
}


def test_names_are_those_that_the_modules_register_in_their_order(package):
    name = package(**MODULES)
    assert registry.names_in(name) == ["cube", "another", "ball"]
    assert f"{name}.first" not in sys.modules
    things = __import__(name).THINGS
    assert list(things) == ["cube", "another", "ball"]
    assert len(things) == 3
    assert things["another"] is things.lookup("another") is print
    assert "ball" in things and "box" not in things


def test_an_unknown_name_lists_the_known(package):
    things = __import__(package(**MODULES)).THINGS
    message = "Unknown thing 'box'. Choose one of: another, ball, cube."
    with pytest.raises(errors.UserError, match=message):
        things.lookup("box")
    with pytest.raises(KeyError):
        things["box"]


def test_a_name_is_registered_once(package):
    things = __import__(package(**MODULES)).THINGS
    with pytest.raises(errors.UserError, match="thing named 'cube' is already regist"):
        list(things)
        things.register("cube")(len)


def test_a_module_that_cannot_be_imported_is_reported_each_time(package):
    things = __import__(package(broken="import nothing_of_that_name")).THINGS
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
            list(things)


def test_computed_names_are_an_error(package):
    name = package(
        loop="""
        from registered_things import THINGS

        for name in ("a", "b"):
            THINGS.register(name=name)(print)
        """
    )
    with pytest.raises(
        TypeError, match=r"loop\.py, line 5: the name that is registered"
    ):
        registry.names_in(name)
    assert list(__import__(name).THINGS) == ["a", "b"]


def test_a_missing_package_is_an_import_error():
    with pytest.raises(ModuleNotFoundError, match=r"kerasseg\.nothing"):
        registry.names_in("kerasseg.nothing")


def test_names_of_models_equal_those_that_are_registered():
    assert sorted(registry.names_in("kerasseg.models")) == models.list_models()


@pytest.mark.parametrize(
    "package", ["kerasseg.models", "kerasseg.losses", "kerasseg.metrics"]
)
def test_listing_names_starts_no_framework_and_is_fast(package):
    code = f"""
        import sys, time
        from kerasseg.system import registry
        start = time.process_time()
        registry.names_in("{package}")
        seconds = time.process_time() - start
        assert not {{"keras", "tensorflow", "numpy"}} & set(sys.modules)
        assert seconds < 0.3, seconds
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
