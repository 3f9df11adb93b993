"""Figures and the page of a report; the only importer of matplotlib."""

from psimg.report.content import ReportContent, ReportFile, ReportRecon, ReportRegion
from psimg.report.page import write_report

__all__ = ["ReportContent", "ReportFile", "ReportRecon", "ReportRegion", "write_report"]
