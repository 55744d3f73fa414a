"""Data sets: reading, cleaning, splitting, cutting faces out."""
