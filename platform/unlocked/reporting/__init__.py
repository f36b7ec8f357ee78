"""`unlocked report`: finished runs as one page to read, print, send: HTML, Markdown or LaTeX."""

from unlocked.reporting.report import FORMATS, Report, report

__all__ = ["FORMATS", "Report", "report"]
