"""Every parameter of the room can be given by its name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import jetsym.spectrum

MODULES = [module.name for module in pkgutil.iter_modules(jetsym.spectrum.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_parameters_have_names_that_may_be_used(name):
    module = importlib.import_module(f"jetsym.spectrum.{name}")
    own = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    classes = [one for one in own if inspect.isclass(one)]
    functions = [one for one in own if inspect.isfunction(one)]
    for one in classes:
        functions += [member for member in vars(one).values() if inspect.isfunction(member)]
    assert functions or name == "symmetry"
    written = [one for one in functions if one.__code__.co_filename == module.__file__]
    for function in written:
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.kind is not parameter.POSITIONAL_ONLY, f"{function.__qualname__}: {parameter}"
