"""A run seen from elsewhere: what is shown and sent of it, and the state that both come from."""
