"""Training the built-in face detector."""
