"""Foundations without knowledge of faces: errors, files, boxes, threads, child processes, downloads."""
