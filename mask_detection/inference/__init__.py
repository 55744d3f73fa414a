"""From a frame to detections, and what is made of them: drawings, tracks, summaries, alarms."""
