#!/usr/bin/env python3
"""A wiki that remembers: plain HTTP on both sides, Python's own library, no SDK.

It knows nothing but its sidecar's state API. A page is a key, whose past the state store keeps; its likes and its tags are
replicated keys, which everybody may write at once. What becomes of pages, whoever writes them, it is told by a subscription.

    PORT            where it listens (8080)
    DAPR_HTTP_PORT  where its sidecar does (3500); dapr run sets both
"""

import http.client
import json
import os
import signal
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE = "/v1.0/state/entities"

# What is written to the state store is told under this topic, a message for each version of each key.
SUBSCRIPTIONS = [{"pubsubname": "entities-pubsub", "topic": "state/entities", "route": "/changed"}]


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def dapr(method, path, body=None, headers=None):
    """One request to the sidecar: the value of the answer, None if there is none, and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("DAPR_HTTP_PORT", "3500")), timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError as problem:
        raise Refused(503, f"the sidecar does not answer: {problem}") from problem
    finally:
        connection.close()
    if answer.status >= 300:
        try:
            text = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            pass
        raise Refused(answer.status, text)
    return json.loads(text) if text else None, answer.headers


def key_path(key, **metadata):
    """The path of a key, with what the state store is asked about it."""
    asked = urllib.parse.urlencode({"metadata." + name: value for name, value in metadata.items()})
    return f"{STORE}/{urllib.parse.quote(key, safe='')}" + ("?" + asked if asked else "")


def get(key, **metadata):
    return dapr("GET", key_path(key, **metadata))


def save(key, value, **options):
    dapr("POST", STORE, [{"key": key, "value": value, **options}])


# A write to a replicated key is answered when this node has it, or, with this, when the journal and most nodes have it.
STRONG = {"consistency": "strong"}


# The wiki. A method is called with the name of the page, the query and the body of the request, and returns the answer.


def show(page, query, _):
    """The page as it is, or as it was: ?version=2, ?asOf=2026-11-23T14:00:00Z."""
    past = {name: query[name] for name in ("version", "asOf") if name in query}
    text, headers = get("page-" + page, **past)
    if text is None:
        raise Refused(404, f"there is no page {page}" + (" then" if past else ""))
    if past:
        return {"page": page, "text": text, "version": int(headers["Metadata.version"])}
    likes, _ = get("likes-" + page)
    tags, _ = get("tags-" + page)
    return {"page": page, "text": text, "version": int(headers["Etag"]), "likes": likes or 0, "tags": tags or []}


def write(page, _, body):
    """A new version of the page. With the version that the writer has read, only if it is still that one."""
    more = {}
    if "version" in body:
        more = {"etag": str(body["version"]), "options": {"concurrency": "first-write"}}
    save("page-" + page, body["text"], **more)
    _, headers = get("page-" + page)
    return {"page": page, "version": int(headers["Etag"])}


def remove(page, _, __):
    dapr("DELETE", key_path("page-" + page))
    return {"page": page, "deleted": True}


def history(page, query, _):
    """All versions of the page, oldest first."""
    versions, _ = get("page-" + page, history="true", **{k: query[k] for k in ("after", "limit") if k in query})
    return versions


def like(page, _, body):
    """One more, or one less. Nobody reads the number before, so nobody is too late."""
    operation = {"decrement": 1} if body.get("not") else {"increment": 1}
    save("likes-" + page, operation, options=STRONG)
    likes, _ = get("likes-" + page)
    return {"page": page, "likes": likes}


def tag(page, _, body):
    """Tags that come and tags that go."""
    save("tags-" + page, {name: body[name] for name in ("add", "remove") if name in body}, options=STRONG)
    tags, _ = get("tags-" + page)
    return {"page": page, "tags": tags}


# The latest changes, by the ids of their messages: a message may come again.
told = {}
telling = threading.Lock()


def changed(event):
    """A message of the subscription, in the order in which a page changed."""
    key = event["subject"].partition("||")[2]
    if key.startswith("page-"):
        change = {"page": key.removeprefix("page-"), "version": int(event["sequence"]), "deleted": event["type"] == "deleted"}
        with telling:
            told[event["id"]] = change
            if len(told) > 1000:
                del told[next(iter(told))]
    return {"status": "SUCCESS"}


def changes(query):
    """The latest changes, oldest first."""
    with telling:
        return {"changes": [change for change in told.values() if query.get("page", change["page"]) == change["page"]]}


ROUTES = {
    ("GET", ""): show,
    ("PUT", ""): write,
    ("DELETE", ""): remove,
    ("GET", "history"): history,
    ("POST", "likes"): like,
    ("POST", "tags"): tag,
}


class Wiki(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        try:
            status, value = 200, self.route()
        except Refused as refused:
            status, value = refused.status, {"error": str(refused)}
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            status, value = 400, {"error": f"this request is not understood: {problem!r}"}
        data = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def route(self):
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        body = json.loads(data) if data else {}
        if address.path == "/dapr/subscribe":
            return SUBSCRIPTIONS
        if address.path == "/changed":
            return changed(body)
        if address.path == "/changes":
            return changes(query)
        parts = [urllib.parse.unquote(part) for part in address.path.strip("/").split("/")]
        route = ROUTES.get((self.command, parts[2] if len(parts) == 3 else ""))
        if route is None or parts[0] != "pages" or len(parts) not in (2, 3):
            raise Refused(404, f"there is no {self.command} {address.path} here")
        return route(parts[1], query, body)

    def log_message(self, *_):
        """The sidecar's log is enough."""


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Wiki)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
