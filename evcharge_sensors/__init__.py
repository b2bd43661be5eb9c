"""Sensors: they ask for runs and change nothing themselves; their cursors are shortcuts, never the truth."""
