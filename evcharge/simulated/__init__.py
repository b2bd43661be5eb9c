"""The simulated world: its live feed, its past days, runs beside the platform, and their report."""
