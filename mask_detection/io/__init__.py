"""Images, videos and records in and out."""
