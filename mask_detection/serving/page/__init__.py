"""The live page: an HTTP server within a run, for people, Prometheus and health checks."""
