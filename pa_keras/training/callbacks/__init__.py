"""Keras callbacks of a training run, one per file."""
