"""Live availability: through a real server, with real clients, until it stops."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import servers
from running import serve
from spirit.application import create_app, lifespan
from spirit.tours import streams
from spirit.tours.live import CHANNEL, News, Subscription

PATH = "/api/v1/tours/walk/availability"
PATIENCE = 10


def state(seats):
    return {"tour": "walk", "departures": [{"day": "2027-05-01", "seats": seats}]}


@pytest.fixture
def live(clean):
    with serve(clean.settings(graceful_timeout="4s")) as running:
        yield running


@pytest.fixture
def set_seats(clean, live, account):
    """As a guide does it, at the server that clients look at."""

    @contextmanager
    def client():
        with httpx.Client(base_url=f"http://{live.address}", timeout=PATIENCE) as made:
            yield made

    with client() as asking:
        guide = account(asking, "guide")

        def change(seats, tour_id="walk"):
            answer = guide.ask(
                "PUT",
                f"/api/v1/tours/{tour_id}/departures/2027-05-01",
                json={"seats": seats},
            )
            assert answer.status_code == 200, answer.text

        yield change


def socket(running, path=PATH):
    return connect(f"ws://{running.address}{path}/socket", open_timeout=PATIENCE)


@contextmanager
def events(running, path=PATH):
    url = f"http://{running.address}{path}/events"
    with httpx.Client(timeout=PATIENCE) as client, client.stream("GET", url) as answer:
        assert answer.status_code == 200
        yield answer, answer.iter_lines()


def next_event(lines):
    """The data of the next event; None for a line that only says that the server lives."""
    for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
        if line.startswith(":"):
            return None
    return "the end"


def test_a_socket_tells_how_it_is_and_every_change(live, set_seats):
    with socket(live) as client:
        assert json.loads(client.recv(PATIENCE)) == state(12)
        set_seats(3)
        assert json.loads(client.recv(PATIENCE)) == state(3)
        # Another tour's news are not for this client.
        set_seats(1, "bay")
        set_seats(2)
        assert json.loads(client.recv(PATIENCE)) == state(2)


def test_events_tell_how_it_is_and_every_change(live, set_seats):
    with events(live) as (answer, lines):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert next_event(lines) == state(12)
        set_seats(3)
        assert next_event(lines) == state(3)


def test_a_stop_lets_both_go_on_for_a_while_and_ends_them_cleanly(live, store):
    with socket(live) as client, events(live) as (_, lines):
        client.recv(PATIENCE)
        assert next_event(lines) == state(12)
        stopping = threading.Thread(target=live.stop)
        stopping.start()
        eventually_refused(live)
        store.publish(CHANNEL, json.dumps(state(5)))
        assert json.loads(client.recv(PATIENCE)) == state(5)
        assert next_event(lines) == state(5)
        # The end of the answer, not a connection that breaks: httpx would raise.
        assert next_event(lines) == "the end"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd.code == 1012
        stopping.join()


def test_a_stop_without_streams_does_not_wait(clean):
    with serve(clean.settings(graceful_timeout="1h")) as running:
        running.stop()


def eventually_refused(running):
    """No new connections: the stop has begun."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://{running.address}/health")
        except httpx.ConnectError:
            return
    raise AssertionError("it still listens")


def test_a_request_that_runs_is_finished_at_a_stop(clean):
    with serve(clean.settings()) as running:
        started = threading.Event()

        @running.server.config.app.get("/slow")
        async def slow():
            started.set()
            await asyncio.sleep(1)
            return "done"

        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.get(f"http://{running.address}/slow"))
        )
        asking.start()
        assert started.wait(PATIENCE)
        running.stop()
        asking.join()
        assert [(each.status_code, each.json()) for each in answers] == [(200, "done")]


def test_streams_are_counted_and_not_timed(live):
    def metric(name):
        text = httpx.get(f"http://{live.address}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else None

    with socket(live) as client, events(live) as (_, lines):
        client.recv(PATIENCE)
        next_event(lines)
        assert metric('spirit_streams_open{kind="socket"}') == 1
        assert metric('spirit_streams_open{kind="events"}') == 1
        route = '{method="GET",route="/api/v1/tours/{tour_id}/availability/events"'
        assert metric(f"http_requests_total{route}") == 1
        assert metric(f"http_request_duration_seconds_count{route}") is None
        assert metric("http_requests_active") == 1
        # The two, and the one that scrapes.
        time.sleep(0.3)
        assert metric("http_connections_open") >= 2
    for _ in range(50):
        if not metric('spirit_streams_open{kind="socket"}'):
            break
        time.sleep(0.1)
    assert metric('spirit_streams_open{kind="socket"}') == 0
    assert metric('spirit_streams_open{kind="events"}') == 0


def test_silence_is_broken_by_a_sign_of_life(live, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    with events(live) as (_, lines):
        assert next_event(lines) == state(12)
        assert next_event(lines) is None
        assert next_event(lines) is None


def test_what_a_socket_sends_is_read_and_dropped(live, set_seats):
    with socket(live) as client:
        client.recv(PATIENCE)
        client.send("hello?")
        set_seats(5)
        assert json.loads(client.recv(PATIENCE)) == state(5)


def test_a_tour_that_is_not_there_has_no_streams(live):
    nowhere = PATH.replace("walk", "nowhere")
    assert httpx.get(f"http://{live.address}{nowhere}/events").status_code == 404
    with socket(live, nowhere) as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(PATIENCE)
    assert closed.value.rcvd.code == 4404


def test_streams_end_when_the_tour_is_gone(live, sql, store):
    with socket(live) as client, events(live) as (_, lines):
        client.recv(PATIENCE)
        next_event(lines)
        sql.execute("DELETE FROM tours WHERE id = 'walk'")
        # News in a form that this version does not know: everybody looks again.
        store.publish(CHANNEL, "{}")
        assert next_event(lines) == "the end"
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE)


def test_a_worker_takes_so_many_streams(clean):
    with serve(clean.settings(max_streams=1)) as running, socket(running) as first:
        first.recv(PATIENCE)
        refused = httpx.get(f"http://{running.address}{PATH}/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        with socket(running) as second, pytest.raises(ConnectionClosed) as closed:
            second.recv(PATIENCE)
        assert closed.value.rcvd.code == 1013


def test_streams_can_be_switched_off(clean):
    with serve(clean.settings(feature_live_availability=False)) as running:
        assert httpx.get(f"http://{running.address}{PATH}/events").status_code == 404
        with socket(running) as client, pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd.code == 4404


def test_a_socket_over_the_limit_is_refused(clean):
    with serve(clean.settings(rate_limit_api="1/minute")) as running:
        with socket(running) as client:
            client.recv(PATIENCE)
        with pytest.raises(InvalidStatus) as refused:
            socket(running)
        assert refused.value.response.status_code == 403


def test_when_redis_comes_back_everybody_looks_again(clean, sql, monkeypatch):
    monkeypatch.setattr("spirit.tours.live.RECONNECT_SECONDS", 0.05)
    with servers.folder() as home:
        path = home / "redis.sock"
        settings = clean.settings(redis_socket=str(path))
        with serve(settings) as running, events(running) as (_, lines):
            assert next_event(lines) == state(12)
            sql.execute("UPDATE departures SET seats = 4 WHERE tour_id = 'walk'")
            with servers.redis_server(path):
                assert next_event(lines) == state(4)


def test_a_slow_client_hears_only_the_newest():
    async def listen():
        told = Subscription()
        for news in (News.RELOAD, "one", "two"):
            told.tell(news)
        heard = [await told.next(1), await told.next(0.01)]
        told.tell(News.END)
        told.tell("late")
        return [*heard, await told.next(1), await told.next(1)]

    assert asyncio.run(listen()) == ["two", News.NOTHING, News.END, News.END]


@pytest.mark.parametrize("milliseconds", [0, 0.2, 0.4, 0.8, 1.6, 3.2])
def test_a_stop_that_comes_while_it_connects_is_not_lost(clean, milliseconds):
    async def start_and_stop():
        app = create_app(clean.settings())
        async with asyncio.timeout(PATIENCE), lifespan(app):
            await asyncio.sleep(milliseconds / 1000)
        return app.state.live.task.done()

    assert asyncio.run(start_and_stop())
