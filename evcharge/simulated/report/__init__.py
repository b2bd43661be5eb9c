"""The report of a simulation: one HTML page, beside recorded sites where there are any."""

from evcharge.simulated.report.inputs import SESSIONS, RealSite, SimulatedRun
from evcharge.simulated.report.page import render, write_report

__all__ = ["SESSIONS", "RealSite", "SimulatedRun", "render", "write_report"]
