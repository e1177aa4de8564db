"""The console: one page and the admin API behind it, served by a monitor that leads.

    browser -> connection -> door (Host, Origin, size) -> routes (who may) -> look, stream, orders -> store

It lives in a thread of its own with a loop of its own, so that nobody who looks at it, however often or slowly, has a
probe wait for the monitor's loop. What it shows is what `sidebeat status` and `events` show, by the same code; what it
asks for is written by the same script as `sidebeat drain` writes it.

Nothing is imported here: ``serving`` brings FastAPI with it, and whoever starts a console does so beside a loop.
"""
