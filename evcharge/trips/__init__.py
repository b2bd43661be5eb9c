"""Trips by electric car: places, roads, energy, and the charging stops between start and destination.

The package is pure: what a station is doing and how long the wait there is are given to it.
"""
