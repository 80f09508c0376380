"""Declare language-model architectures in YAML, price them, compile them, search over them.

The names below are resolved on first use, so that `import archspec` stays free of torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archspec.compiler.compile import compile
    from archspec.cost.summary import summarize
    from archspec.spec.load import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "compile", "load_model", "summarize"]

_PUBLIC = {
    "compile": "archspec.compiler.compile:compile",
    "load_model": "archspec.spec.load:load_model",
    "summarize": "archspec.cost.summary:summarize",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
