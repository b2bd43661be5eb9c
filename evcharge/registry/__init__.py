"""The station registry: AFDC's API and downloads, what changed in them, and the feed that publishes it."""
