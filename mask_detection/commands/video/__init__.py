"""What the video script is put together of: its options, its configuration file, its sinks."""
