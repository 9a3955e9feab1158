"""Server-sent events as bytes. See https://html.spec.whatwg.org/multipage/server-sent-events.html."""

CONTENT_TYPE = "text/event-stream"
#: Says nothing, and shows both ends that the connection is there.
HEARTBEAT = b": \n\n"


def server_sent(*, event: str, event_id: str, data: bytes) -> bytes:
    """One event. ``data`` is JSON on one line, so that nothing in it can end the event."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), event_id.encode(), data)
