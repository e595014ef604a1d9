"""The Python client of the msgcenter API, async and sync, typed; made from its OpenAPI document.

It stands on aiohttp and `protocols` alone: nothing of the server is imported.
"""

from msgcenter.client.client import AsyncClient, Client
from msgcenter.client.errors import ApiError, ClientError, NotReached
from msgcenter.client.sse import ServerEvent
from msgcenter.client.transport import Retries
from msgcenter.client.webhook import BadSignature, Replayed, Webhook, WebhookEvent

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadSignature",
    "Client",
    "ClientError",
    "NotReached",
    "Replayed",
    "Retries",
    "ServerEvent",
    "Webhook",
    "WebhookEvent",
]
