"""Sensors. They request runs and change nothing themselves. A sensor with a lost cursor only takes longer."""
