"""Every parameter of the room can be given by its name, and what holds fields keeps them."""

from __future__ import annotations

import dataclasses
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
    written = [one for one in functions if inspect.unwrap(one).__code__.co_filename == module.__file__]
    for function in written:
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.kind is not parameter.POSITIONAL_ONLY, f"{function.__qualname__}: {parameter}"


@pytest.mark.parametrize("name", MODULES)
def test_what_holds_fields_cannot_be_changed_and_is_no_other(name):
    """Rules, bands and results are shared and kept: their fields are fixed, and each is equal to itself alone."""
    module = importlib.import_module(f"jetsym.spectrum.{name}")
    for one in vars(module).values():
        if dataclasses.is_dataclass(one) and one.__module__ == module.__name__:
            assert one.__dataclass_params__.frozen, one
            assert not one.__dataclass_params__.eq, one
