"""The networks and what runs them: face detectors and mask classifiers."""
