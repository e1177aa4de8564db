"""The gunicorn side of a worker: sockets, master, worker process, drain.

Nothing is imported here: ``worker.server.listeners`` must be cheap, so that a port in use is said at once.
"""
