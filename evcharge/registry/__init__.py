"""The station registry: AFDC's API and downloads, the changes in them, and the feed that publishes the changes."""
