"""Text that others wrote: files that are files, and JSON and YAML that stay as small as they look."""

from __future__ import annotations

import os
import socket
import time
import zipfile

import pytest
import yaml

from jetsym import cli
from jetsym.errors import ConfigError, DataError
from jetsym.reading import (
    encodable,
    expect_path,
    expect_regular,
    expect_small,
    expect_stored,
    parse_json,
    parse_yaml,
    read_text,
)


def aliases(depth: int = 9, width: int = 9, *, merged: bool = False) -> str:
    """A few hundred bytes that stand for width ** depth values."""
    first, each = ("{x: 1}", "{{<<: [{0}]}}") if merged else ("[1, 2]", "[{0}]")
    rows = [f"a0: &a0 {first}"]
    rows += [f"a{row}: &a{row} {each.format(', '.join([f'*a{row - 1}'] * width))}" for row in range(1, depth)]
    return "\n".join(rows)


#: Text in YAML that costs more than it looks, or that PyYAML has an error of Python's for.
BOMBS = {
    "aliases": aliases(),
    "merged aliases": aliases(merged=True),
    "a value that holds itself": "a: &a [*a]",
    "a mapping that holds itself": "&a {b: *a}",
    "nested lists": "[" * 5000,
    "nested mappings": "{a: " * 300 + "1" + "}" * 300,
    "digits": "a: " + "9" * 5000,
    "minutes": "a: 1" + ":59" * 100_000,
    "no date": "a: 2020-13-45",
    "no number": "!!int abc",
    "an empty number": "!!float ''",
    "no truth": "!!bool x",
    "no time": "!!timestamp x",
    "a tag": "!!python/name:os.system x",
}


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize("bomb", BOMBS)
def test_yaml_that_is_more_than_it_looks_is_refused_at_once(bomb, loader):
    start = time.process_time()
    with pytest.raises(yaml.YAMLError):
        parse_yaml(BOMBS[bomb], loader)
    assert time.process_time() - start < 5


def test_yaml_of_plain_values_is_read():
    assert parse_yaml("a: &one [1, 2.5, x]\nb: *one\nc: {<<: {d: 1}}") == {
        "a": [1, 2.5, "x"],
        "b": [1, 2.5, "x"],
        "c": {"d": 1},
    }
    assert parse_yaml("") is None
    expect_small("{a: 1}")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[1", "9" * 5000, b"\xff"])
def test_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 (whatever Python says of it)
        parse_json(text)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    for name, kind in {"pipe": "a pipe", "socket": "a socket", ".": "a folder"}.items():
        with pytest.raises(OSError, match=kind):
            read_text(tmp_path / name)
    listening.close()
    with pytest.raises(OSError, match="a device"):
        expect_regular("/dev/zero")
    (tmp_path / "text").write_text("jets")
    (tmp_path / "link").symlink_to("text")
    assert read_text(tmp_path / "link") == "jets"


def test_archives_that_unpack_to_more_than_they_hold(tmp_path):
    for kind, refused in ((zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, True)):
        with zipfile.ZipFile(tmp_path / "x.pt", "w", kind) as archive:
            archive.writestr("data.pkl", bytes(10_000))
        if refused:
            with pytest.raises(ValueError, match="unpack to 10000 bytes"):
                expect_stored(tmp_path / "x.pt")
        else:
            expect_stored(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04 nothing")
    expect_stored(tmp_path / "x.pt")


def test_no_text_is_no_path():
    for path in ("", "  "):
        with pytest.raises(DataError, match="expected a path"):
            expect_path("data", path)
    with pytest.raises(ConfigError, match="out is ''"):
        expect_path("out", "", ConfigError)
    expect_path("out", ".")


def test_names_in_bytes_get_a_link(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "x.txt").write_text("jets")
    with encodable(folder / "x.txt") as place:
        assert str(place).encode()
        assert place.read_text() == "jets"
    with encodable(tmp_path) as place:
        assert place == tmp_path


@pytest.mark.parametrize("words", [["inspect", ""], ["inspect", "x", "--mapping="], ["diagnose", "  "]])
def test_an_empty_word_is_no_value(words, capsys):
    assert cli.main(words) == 2
    assert "a word is empty" in capsys.readouterr().err


@pytest.mark.parametrize("bomb", ["aliases", "merged aliases", "a value that holds itself", "digits", "nested lists"])
def test_a_file_of_options_that_is_more_than_it_looks(bomb, tmp_path, capsys):
    file = tmp_path / "options.yaml"
    file.write_text(BOMBS[bomb])
    assert cli.main(["inspect", "--config", str(file)]) == 2
    assert cli.main(["inspect", "x", "--mapping", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert ["is no YAML" in line for line in said] == [True, True]
    file.write_text(f"paths: {yaml.safe_dump(BOMBS[bomb])}")  # as text, which is read as YAML once more
    assert cli.main(["inspect", "--config", str(file)]) in (1, 2)


def test_a_file_of_options_shows_no_other_file(tmp_path, capsys):
    (tmp_path / "secret").write_text("the secret")
    for number, text in enumerate((f"config: {tmp_path}/secret", "the secret", "[the secret]")):
        (tmp_path / f"{number}.yaml").write_text(text)
        assert cli.main(["inspect", f"--config={tmp_path}/{number}.yaml"]) == 2
    said = capsys.readouterr().err
    assert "the secret" not in said
    assert "names a further file of options" in said
    assert said.count("holds no options") == 2


def test_a_pipe_of_options_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "options.yaml")
    assert cli.main(["inspect", "--config", str(tmp_path / "options.yaml")]) == 2
    assert "a pipe, which may never end" in capsys.readouterr().err
