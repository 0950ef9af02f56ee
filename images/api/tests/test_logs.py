import json
import logging
import sys
from contextvars import copy_context

import pytest

from spirit.logs import JsonFormatter, request_id_of_now


def record(message="hello %s", *args, **extra):
    made = logging.LogRecord("spirit.test", logging.INFO, __file__, 1, message, args, None)
    vars(made).update(extra)
    return made


def test_a_line_is_one_json_object_with_the_extras():
    text = JsonFormatter().format(
        record("hello %s", "you\nthere", route="/health", color_message="x")
    )
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "spirit.test",
        "message": "hello you\nthere",
        "route": "/health",
    }


def test_a_line_that_a_request_causes_carries_its_id():
    def line_of(request_id):
        request_id_of_now.set(request_id)
        return json.loads(JsonFormatter().format(record("hello")))

    assert copy_context().run(line_of, "abcdef012345")["request_id"] == "abcdef012345"
    assert "request_id" not in line_of(None)


def test_an_exception_stays_in_its_line():
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record("failed")
        failed.exc_info = sys.exc_info()
    text = JsonFormatter().format(failed)
    assert "\n" not in text
    assert "ValueError: broken" in json.loads(text)["exception"]


def test_requests_are_logged_with_route_and_status(client, caplog):
    caplog.set_level(logging.INFO, logger="spirit.access")
    client.get("/api/v1/tours/none")
    (line,) = [each for each in caplog.records if each.name == "spirit.access"]
    assert (line.method, line.path, line.route, line.status) == (
        "GET",
        "/api/v1/tours/none",
        "/api/v1/tours/{tour_id}",
        404,
    )


def test_probes_are_not_logged(client, caplog):
    caplog.set_level(logging.INFO, logger="spirit.access")
    client.get("/health")
    client.get("/metrics")
    assert [each for each in caplog.records if each.name == "spirit.access"] == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcdef0123456789", True), ("short", False), ("a" * 65, False), ('quote"inside', False)],
)
def test_a_request_id_is_kept_if_it_can_stand_in_a_log(client, given, kept):
    answer = client.get("/health", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) == kept
