"""Archives of photos on many cores and machines, with Ray Data."""
