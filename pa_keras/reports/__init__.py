"""What `python -m pa_keras.evaluate` reports: tables, thresholds, suspects and pictures."""
