"""The code of a TorchScript archive, read before it runs: what it may name is computation, and nothing beyond.

An archive is code that torch's own interpreter runs, some of it while the archive is opened (``__setstate__``, which
every export of metatrain has). The interpreter knows no Python, but it has operators that write files, read them, or
load libraries. Here the code is parsed as text, and all that it names is looked up:

- an operator of torch may take no text, as a file is named by text, unless it is one of :data:`WITH_TEXT`;
- the operators and classes of other packages are those of :data:`OPERATORS` and :data:`CLASSES`;
- what torch's operators are reached by (``torch``, ``ops``, ``__torch__``) has no second name, and is no argument.
"""

from __future__ import annotations

import ast
import re
from functools import cache

import torch

__all__ = ["CLASSES", "OPERATORS", "WITH_TEXT", "RefusedError", "check_classes", "check_code", "spaces_in"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Operators of torch that take text for anything but the name of a file: methods of str, dict and list, and modes.
WITH_TEXT = _names(
    """
    Delete Float Int __contains__ __getitem__ __interpolate __upsample _assert_async _assert_scalar _convolution_mode
    _functional_assert_async _functional_assert_scalar _linalg_check_errors _linalg_eigh _linalg_svd _set_item add any
    capitalize center clear conv1d conv2d conv3d copy count dequantize device dict div div_ divide divide_ einsum
    endswith eq expandtabs fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn
    fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn find format ge gelu
    gelu_ gelu_backward get get_autocast_dtype gt index index_reduce index_reduce_ isalnum isalpha isdecimal isdigit
    isidentifier islower isnumeric isprintable isspace istitle isupper items join keys le len linalg_cond linalg_eigh
    linalg_eigvalsh linalg_lstsq linalg_matrix_norm linalg_norm linalg_qr linalg_svd linalg_svdvals list ljust lower
    lstrip lt meshgrid nanquantile ne ord pad pad_sequence partition percentFormat pop popitem quantile remove replace
    rfind rindex rjust rpartition rsplit rstrip scatter scatter_ scatter_reduce scatter_reduce_ searchsorted
    segment_reduce setdefault slice sort sorted split splitlines startswith stft strip swapcase title update upper
    values warn zfill
    """
)

#: Namespace -> its operators that may be named; "*" for those that take no text.
OPERATORS: dict[str, frozenset[str]] = {
    "aten": WITH_TEXT | {"*"},
    "prim": _names(
        """
        NumToTensor RaiseException TupleIndex abs data device dtype grad id index is_cpu is_cuda is_meta is_mkldnn
        is_mps is_nested is_quantized is_sparse is_sparse_csr is_xla is_xpu itemsize layout max min name nbytes
        requires_grad tolist type unchecked_cast unchecked_unwrap_optional
        """
    ),
    "profiler": _names(
        """
        _call_end_callbacks_on_jit_fut _record_function_enter _record_function_enter_new _record_function_exit
        """
    ),
    "metatensor": _names("dtype_name load_block_buffer load_buffer load_labels_buffer save_buffer version"),
    "metatomic": _names(
        """
        _check_outputs _check_quantities load_system_buffer pick_device pick_output register_autograd_neighbors
        save_buffer unit_conversion_factor unit_dimension_for_quantity version
        """
    ),
    "sphericart_torch": _names("*"),
    "featomic": _names("*"),
    "deepmd": _names("*"),
}

#: Beginnings of compiled classes that may be named, after ``__torch__.torch.classes.``.
CLASSES = ("featomic.", "metatensor.", "metatomic.", "profiler._RecordFunction")

#: Methods of those classes that touch files or bare memory.
METHODS = frozenset({"load", "save", "unsafe_from_ptr", "unsafe_view_from_ptr"})

#: Where operators and compiled classes are found.
ROOTS = frozenset({"torch", "ops", "__torch__"})
COMPILED = "__torch__.torch.classes."
#: The functions of torch.autograd; what else follows this word is taken by torch for any operator of its own.
AUTOGRAD = ("autograd.backward", "autograd.grad")

#: What the code that torch writes never holds: other characters; and, beside plain strings, comments, lines that are
#: continued, and strings with a prefix or three quotes.
NOT_PLAIN = re.compile(r"[^ -~\n]")
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
NOT_WRITTEN = re.compile(r"""#|\\|'|\w""|\"{3}""")


class RefusedError(ValueError):
    """The code or the values of an archive name something that they may not."""


def check_code(source: bytes) -> None:
    r"""Refuse code that names what it may not.

    Parameters
    ----------
    source
        A record ``code/….py`` of an archive, all of which are to be looked at.

    Raises
    ------
    RefusedError
        With what it names.

    Examples
    --------
    >>> check_code(b"def f(x: Tensor) -> Tensor:\n  return torch.add(x, x)\n")
    >>> check_code(b"def f(x: Tensor) -> Tensor:\n  torch.save(x, 'file')\n  return x\n")
    Traceback (most recent call last):
    jetsym.atoms.torchscript.RefusedError: the operator aten::save
    """
    _Names().visit(_parsed(source))


def spaces_in(source: bytes) -> set[str]:
    """Return the namespaces of the operators and compiled classes that code names."""
    named = re.findall(rb"\b(?:ops|torch\.classes)\s*\.\s*(\w+)", source)
    return {name.decode() for name in named}


def check_classes(pickled: bytes) -> None:
    """Refuse values of compiled classes that are none of :data:`CLASSES`, in a record ``….pkl`` of an archive.

    Raises
    ------
    RefusedError
        With the class.
    """
    text = pickled.replace(b"\n", b".").decode("latin-1")  # a pickle ends the words of a name with line feeds
    for name in re.findall(r"torch\.classes\.([\w.]*)", text):
        if not name.startswith(CLASSES):
            raise RefusedError(f"a value of the class torch.classes.{name.rstrip('.')}")


def _parsed(source: bytes) -> ast.Module:
    """Parse code, of which torch itself writes plain ASCII without comments: words are the same to both parsers."""
    text = source.decode("latin-1")
    odd = NOT_PLAIN.search(text) or NOT_WRITTEN.search(STRING.sub('""', text))
    if odd:
        raise RefusedError(f"what torch does not write into code: {odd[0]!r}")
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedError(f"code that cannot be read ({type(error).__name__})") from error


class _Names(ast.NodeVisitor):
    """Looks up every name in code."""

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Look up a name with dots, as a whole where it begins with a root."""
        words, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            words.append(value.attr)
            value = value.value
        words.reverse()
        if isinstance(value, ast.Name) and value.id in ROOTS:
            _check_rooted(value.id, words)
        else:
            self.visit(value)
        for word in words:
            _check_method(word)

    def visit_Name(self, node: ast.Name) -> None:
        """Refuse a root by itself, which could be given another name."""
        if node.id in ROOTS:
            raise RefusedError(f"{node.id!r} without an operator")

    def visit_Call(self, node: ast.Call) -> None:
        """Look up a name that is given as text, as attributes whose names are no words are."""
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            name = node.args[1] if len(node.args) > 1 else None
            if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                raise RefusedError("a name that is not known before the code runs")
            _check_method(name.value)
        self.generic_visit(node)


def _check_rooted(root: str, words: list[str]) -> None:
    path = ".".join(words)
    if root == "torch":
        if path not in AUTOGRAD:
            _check_operator("aten", path)
    elif root == "ops":
        _check_operator(words[0], ".".join(words[1:]))
    else:
        full = f"{root}.{path}."
        if COMPILED.startswith(full):
            raise RefusedError(f"{root}.{path} without a class")
        if full.startswith(COMPILED) and not full.removeprefix(COMPILED).startswith(CLASSES):
            raise RefusedError(f"the class {path}")


@cache
def _check_operator(space: str, name: str) -> None:
    """Refuse an operator that is not in the list of its namespace, or takes text where none may be taken."""
    known = OPERATORS.get(space, frozenset())
    if name in known:
        return
    # Of its own registry: what is not in there is unknown to torch as well.
    schemas = torch._C._jit_get_schemas_for_operator(f"{space}::{name}") if "*" in known else []
    if not schemas or any(_takes_text(str(argument.type)) for schema in schemas for argument in schema.arguments):
        raise RefusedError(
            f"the operator {space}::{name}" if name else f"the namespace ops.{space} without an operator"
        )


def _takes_text(kind: str) -> bool:
    return "str" in kind or "Any" in kind


def _check_method(name: str) -> None:
    if name in METHODS:
        raise RefusedError(f"the method {name}")
