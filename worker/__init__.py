"""The workers' side: follow the view, pick a backend, exchange, report.

Every worker process reads the view that the monitor publishes and forwards traffic on it: HTTP, event streams and
tunnels. No request ever waits for Redis.
"""
