"""How right the predictions are: metrics, running over a set, tables and curves."""
