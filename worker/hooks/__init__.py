"""For people who start gunicorn themselves: what goes into their conf file.

Under an app of their own that uses the library, four hooks have its workers share one board, so that they count
together: requests under way, limits, ejections.

    # gunicorn.conf.py; then `gunicorn -k uvicorn_worker.UvicornWorker app:app`
    from worker.hooks import child_exit, on_starting, post_fork, pre_fork

Who has hooks of the same names: ``globals().update(combined(pre_fork=mine))``. And with no app at all, the settings
that make plain gunicorn what ``sidebeat worker`` is:

    # gunicorn.conf.py; then `gunicorn`
    from worker.hooks import settings
    globals().update(settings("sidebeat.toml"))
"""

from worker.hooks.combine import combined
from worker.hooks.serving import settings
from worker.hooks.sharing import child_exit, on_starting, post_fork, pre_fork

__all__ = ["child_exit", "combined", "on_starting", "post_fork", "pre_fork", "settings"]
