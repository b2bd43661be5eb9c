"""Whether an outlet will be free later, and how long a driver will wait: the models, how they are trained, how they score.

Everything here is learned from what the platform recorded. It does not know the simulation.
"""
