"""A fleet in one process and in no time: the project's own decisions, against backends that exist only as numbers.

What decides is what decides in production: ``worker.pool`` with its ``view``, ``pick``, ``retry`` and ``passive``, a
board with a writer for each worker, and ``sidecar.verdict`` on a ``schedule``. What is made up is what they look at:
clients, backends, probes and delays. ``run`` puts them together.
"""
