"""The report of a simulation: one HTML page, beside recorded sites where there are any."""

from evcharge.sessions.report.inputs import SESSIONS, RealSite, SimulatedRun
from evcharge.sessions.report.page import render, write_report

__all__ = ["SESSIONS", "RealSite", "SimulatedRun", "render", "write_report"]
