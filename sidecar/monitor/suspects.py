"""Workers' hints that a backend is in trouble: probe it now. Only hints; a lost one costs a second."""

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.monitor.cancel import end_if_cancelled
from sidecar.monitor.watch import Watch

RETRY_S = 1.0


async def heed_suspicions(redis: Redis, watches: Mapping[str, Watch]) -> None:
    """Listen on each channel for ids of the watched pool's backends; runs until it is cancelled.

    That the store is gone is said by those who publish.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(*watches)
                while True:
                    message = await subscription.get_message(timeout=RETRY_S)
                    end_if_cancelled()
                    if message is not None:
                        watches[message["channel"]].suspect(message["data"])
        except (RedisError, OSError):
            end_if_cancelled()
            await asyncio.sleep(RETRY_S)
