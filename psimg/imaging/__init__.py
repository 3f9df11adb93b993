"""Lifetime images from list mode: projector, reconstruction, comparison of maps."""
