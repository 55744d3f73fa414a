"""How right the predictions are."""
