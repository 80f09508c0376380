"""Write what is generated from the schemas: the reference pages and the JSON Schema files."""

from __future__ import annotations

import pathlib

from archspec.report.reference import reference_pages
from archspec.spec.documents import DOCUMENTS
from archspec.spec.json_schema import schema_text

ROOT = pathlib.Path(__file__).parent.parent


def main() -> None:
    """Write all of them."""
    files = {f"docs/reference/{name}": text for name, text in reference_pages().items()}
    files |= {f"specs/schema/{kind}.json": schema_text(kind) for kind in DOCUMENTS}
    for name, text in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
