"""Face-attribute learning under consent: ingest, train, keep, query, forget, report.

The floors of the house are drawn in ``docs/concepts.md`` and enforced by import-linter (``pyproject.toml``).
"""

__version__ = "0.1.0"
