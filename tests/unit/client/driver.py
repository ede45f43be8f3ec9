"""Drives flows without sockets: each request is answered by the next entry of a script."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.client.exchange import Answer, Flow, Request, Sleep
from airflow_provider_cleartrace.client.session import Session
from airflow_provider_cleartrace.client.settings import Settings


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def session(**settings: Any) -> Session:
    return Session(Settings(base_url="http://cleartrace.test", api_key="key", **settings))


@dataclass
class Script:
    """Answers in turn; ``requests`` and ``slept`` keep what the flow did."""

    answers: list[Answer | TransportError]
    requests: list[Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def run(self, flow: Flow[Any]) -> Any:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Sleep):
                    self.slept.append(step.seconds)
                    step = flow.send(None)
                    continue
                self.requests.append(step)
                reply = self.reply(step)
                step = flow.throw(reply) if isinstance(reply, TransportError) else flow.send(reply)
        except StopIteration as stop:
            return stop.value

    def reply(self, request: Request) -> Answer | TransportError:
        """What a request is answered with."""
        return self.answers.pop(0)

    def sent(self) -> list[str]:
        return [f"{r.method} {r.url.removeprefix('http://cleartrace.test')}" for r in self.requests]


def script(*answers: Answer | TransportError) -> Script:
    return Script(list(answers))


def bodies(requests: Iterable[Request]) -> list[Any]:
    return [json.loads(r.content) for r in requests if isinstance(r.content, bytes)]
