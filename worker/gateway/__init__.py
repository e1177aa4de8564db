"""The ASGI lane: the same exchange as an ASGI callable."""

from worker.gateway.gateway import Gateway
from worker.gateway.scope import App, Message, Receive, Scope, Send, Shortcut

__all__ = ["App", "Gateway", "Message", "Receive", "Scope", "Send", "Shortcut"]
