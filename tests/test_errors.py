"""What users' mistakes are refused with, and packages that are imported where they are needed."""

from __future__ import annotations

import warnings

import pytest

from jetsym.errors import ConfigError, MissingDependencyError, ProbeError, refuse_unknown, require


def test_a_package_is_imported_without_its_own_warnings_of_what_is_deprecated(tmp_path, monkeypatch):
    (tmp_path / "ageing_package.py").write_text(
        "import warnings\nwarnings.warn('`torch.jit.script` is deprecated', DeprecationWarning)\nvalue = 7\n"
    )
    (tmp_path / "broken_package.py").write_text("import warnings\nwarnings.warn('something is wrong')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert require("ageing_package", extra="atoms", purpose="a test").value == 7
        with pytest.raises(UserWarning, match="something is wrong"):
            require("broken_package", extra="atoms", purpose="a test")
    message = r"a test needs the package 'no_such_package', .*python -m pip install 'jetsym\[atoms\]'"
    with pytest.raises(MissingDependencyError, match=message):
        require("no_such_package.inside", extra="atoms", purpose="a test")


@pytest.mark.parametrize("name", ["drifft", None, ["drift"], 3])
def test_what_is_no_name_is_refused(name):
    refuse_unknown("--finding", "drift", {"drift": 1})
    with pytest.raises(ConfigError, match="--finding is .*; (the nearest are|there is) 'drift'"):
        refuse_unknown("--finding", name, {"drift": 1})
    with pytest.raises(ProbeError, match="x is 'a'; there is none"):
        refuse_unknown("x", "a", (), ProbeError)
