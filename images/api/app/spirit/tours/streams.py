"""Live availability of a tour, twice: server-sent events, and a WebSocket.

Both begin with how things are, then say every change. When the server stops they go on for nearly as
long as it may take (`GRACEFUL_TIMEOUT`), then end: the events with the end of the answer, the WebSocket
with close code 1012 (service restart). Clients come back by themselves, and reach a replica that stays.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from starlette.requests import HTTPConnection

from spirit.database.engine import Database
from spirit.routing import api_router
from spirit.tours.catalogue import Catalogue
from spirit.tours.live import Full, Live, News, Subscription
from spirit.tours.routes import Id, unknown
from spirit.tours.tour import Availability

router = api_router("/tours", "tours")

# Sooner than a proxy gives up on a silent answer (60 s).
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
CLOSED_RESTART = 1012
CLOSED_UNKNOWN = 4404
CLOSED_FULL = 1013


async def load(connection: HTTPConnection, tour_id: str) -> Availability | None:
    """In a transaction of its own: a stream must not hold a connection to the database."""
    database: Database = connection.app.state.database
    async with database.sessions() as session:
        return await Catalogue(session).availability(tour_id)


async def changes(
    connection: HTTPConnection, tour_id: str, subscription: Subscription
) -> AsyncIterator[Availability | None]:
    """`None` is a sign of life. Ends when the server stops or the tour is gone."""
    while True:
        news = await subscription.next(HEARTBEAT_SECONDS)
        if news is News.END:
            return
        if news is News.NOTHING:
            yield None
        elif news is News.RELOAD:
            if (now := await load(connection, tour_id)) is None:
                return
            yield now
        else:
            yield news


def enabled(connection: HTTPConnection) -> bool:
    return connection.app.state.settings.feature_live_availability


@router.get("/{tour_id}/availability/events", response_class=StreamingResponse)
async def events(tour_id: Id, request: Request) -> StreamingResponse:
    if not enabled(request):
        raise HTTPException(404, "live availability is switched off")
    if await load(request, tour_id) is None:
        raise unknown(tour_id)
    live: Live = request.app.state.live
    if live.is_full():
        raise HTTPException(503, "too many live streams", {"retry-after": "5"})

    async def lines() -> AsyncIterator[str]:
        with request.app.state.metrics.stream("events"), live.subscribe(tour_id) as subscription:
            yield f"retry: {RETRY_MILLISECONDS}\n\n"
            async for news in changes(request, tour_id, subscription):
                yield (
                    f"event: availability\ndata: {news.model_dump_json()}\n\n"
                    if news
                    else ": still here\n\n"
                )

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


@router.websocket("/{tour_id}/availability/socket")
async def socket(tour_id: str, websocket: WebSocket) -> None:
    known = enabled(websocket) and await load(websocket, tour_id) is not None
    await websocket.accept()
    if not known:
        await websocket.close(CLOSED_UNKNOWN, "there is no such tour")
        return
    live: Live = websocket.app.state.live
    try:
        with websocket.app.state.metrics.stream("socket"), live.subscribe(tour_id) as subscription:
            await talk(websocket, tour_id, subscription)
    except Full:
        await websocket.close(CLOSED_FULL, "too many live streams")


async def talk(websocket: WebSocket, tour_id: str, subscription: Subscription) -> None:
    async def send() -> None:
        async for news in changes(websocket, tour_id, subscription):
            # No sign of life needed: the server's own pings are that.
            if news:
                await websocket.send_text(news.model_dump_json())
        await websocket.close(CLOSED_RESTART, "the server restarts")

    async def receive() -> None:
        while True:
            await websocket.receive_text()

    tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        # After a close the protocol refuses to send or receive; that is how a stream ends.
        if isinstance(result, Exception) and not isinstance(
            result, WebSocketDisconnect | RuntimeError
        ):
            raise result
