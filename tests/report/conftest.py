"""A real browser for the pages of reports."""

from __future__ import annotations

from browsers import browser_path, chromium

__all__ = ["browser_path", "chromium"]
