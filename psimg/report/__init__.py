"""Figures and the page of a report; the only importer of matplotlib."""

from psimg.report.content import ReportContent, ReportFile
from psimg.report.page import write_report

__all__ = ["ReportContent", "ReportFile", "write_report"]
