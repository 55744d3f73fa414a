"""Training the classifier, and in ``detector`` the face detector."""
