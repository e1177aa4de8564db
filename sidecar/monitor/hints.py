"""Hints that something wants a look now: a worker suspects a backend, the operator asked for something.

Only hints; one that is lost costs a second.
"""

import asyncio
from collections.abc import Callable, Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.monitor.cancel import end_if_cancelled

RETRY_S = 1.0


async def heed_hints(redis: Redis, actions: Mapping[str, Callable[[str], None]]) -> None:
    """Listen on each channel, and act on the id of a backend that comes; runs until it is cancelled.

    That the store is gone is said by those who publish.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(*actions)
                while True:
                    message = await subscription.get_message(timeout=RETRY_S)
                    end_if_cancelled()
                    if message is not None:
                        actions[message["channel"]](message["data"])
        except (RedisError, OSError):
            end_if_cancelled()
            await asyncio.sleep(RETRY_S)
