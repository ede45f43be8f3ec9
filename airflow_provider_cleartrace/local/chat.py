"""Talks to a language model: one turn of an OpenAI-compatible chat, within strict bounds of time and size."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_cleartrace.local.settings import LanguageModel

MAX_ANSWER_BYTES = 1024 * 1024
"""A text of some pages is far below; a language model must not fill this worker's memory."""

_CALLS_AT_ONCE = 64
"""More in one message is no conversation any more."""


class ChatError(Exception):
    """There is no usable answer. The message is a phrase for people, without keys, addresses or answers."""


class _Function(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class ToolCall(BaseModel):
    """A look-up the model asks for; what else a service adds to it is sent back as it came."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: Literal["function"] = "function"
    function: _Function


class Turn(BaseModel):
    """What the model said: a text, or calls of tools."""

    content: str | None = None
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=_CALLS_AT_ONCE)

    def message(self) -> dict[str, Any]:
        """Give the turn as a message of the conversation that goes on."""
        calls = [call.model_dump() for call in self.tool_calls or []]
        said: dict[str, Any] = {"role": "assistant", "content": self.content}
        return {**said, "tool_calls": calls} if calls else said


class _Choice(BaseModel):
    message: Turn
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Chat:
    """A language model that answers until ``deadline``, on the clock of `time.monotonic`."""

    client: httpx.AsyncClient
    language_model: LanguageModel
    deadline: float

    async def turn(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Turn:
        """Have the model go on with a conversation.

        Redirects are not followed: the key is meant for the URL that the operator named. Proxies and
        certificates come from the environment.

        Raises:
            ChatError: no answer in time, or none that can be used.
        """
        asked: dict[str, Any] = {"model": self.language_model.name, "messages": list(messages)}
        if tools:
            asked["tools"] = list(tools)
        own, left = self.language_model.timeout_seconds, self.deadline - time.monotonic()
        try:
            # One limit for the whole exchange: those of httpx start anew with every byte that arrives.
            async with asyncio.timeout(min(own, left)):
                return _read(await self._post(json.dumps(asked).encode()))
        except TimeoutError:
            limit = f"within {own} s (--llm-timeout-seconds)" if own < left else "in the time left to the job"
            raise ChatError(f"it did not answer {limit}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ChatError(f"it could not be reached ({type(error).__name__})") from None

    async def _post(self, content: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.language_model.key:
            headers["Authorization"] = f"Bearer {self.language_model.key}"
        url = f"{self.language_model.url.rstrip('/')}/chat/completions"
        async with self.client.stream("POST", url, content=content, headers=headers) as answer:
            if not answer.is_success:
                raise ChatError(f"it answered HTTP {answer.status_code}")
            received = bytearray()
            async for chunk in answer.aiter_raw():
                received += chunk
                if len(received) > MAX_ANSWER_BYTES:
                    raise ChatError(f"it answered with more than {MAX_ANSWER_BYTES} bytes")
            return bytes(received)


def _read(content: bytes) -> Turn:
    try:
        choice = _Completion.model_validate_json(content).choices[0]
    except ValidationError:
        raise ChatError("its answer was no chat completion") from None
    if choice.finish_reason == "length":
        raise ChatError("its answer was cut off")
    return choice.message
