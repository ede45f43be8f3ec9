"""A caller cannot make the server call what only the server can reach."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import httpx
import pytest

from airflow_provider_cleartrace.local.destinations import Destinations, HostRule, Unresolved, is_public
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.outbound import CheckedTransport
from tests.integration.teacher_server import teacher_server

PUBLIC = "93.184.216.34"
QUESTION = {"samples": [[1.0, 2.0, 3.0]]}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """The resolver answers a name with these, one after the other; literals stay what they are."""
    real, waiting = socket.getaddrinfo, list(answers)

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *args, **kwargs)
        return [entry for address in waiting.pop(0) for entry in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def checked() -> httpx.Client:
    return httpx.Client(transport=CheckedTransport(Destinations()))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001:0:7f00:1::1",
    ],
)
def test_addresses_that_are_not_public_are_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", PUBLIC, "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_open(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost/predict",
            "http://LOCALHOST/predict",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://[::1]:8080/",
            "http://[::ffff:169.254.169.254]/latest/meta-data",
            "https://user:secret@10.0.0.1/",
        ],
    )
    def test_every_notation_of_an_inside_address_is_refused(self, url: str) -> None:
        with pytest.raises(InputError, match="--allow-predict-host") as refused:
            Destinations().check_url(url)
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize("url", ["ftp://1.1.1.1/", "http://", "http://[", "http://1.1.1.1:99999/", "x"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(InputError, match="predict_url must be"):
            Destinations().check_url(url)

    def test_one_inside_address_among_public_ones_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, [PUBLIC, "10.0.0.1"])
        with pytest.raises(InputError, match="not public"):
            Destinations().check_url("https://rebinding.example/predict")

    def test_a_host_without_an_address_is_refused(self) -> None:
        with pytest.raises(Unresolved, match="does not resolve"):
            Destinations().check_url("http://" + "a" * 70 + ".example/")


class TestNamedHosts:
    @pytest.mark.parametrize(
        ("rule", "host", "port", "named"),
        [
            ("127.0.0.1", "127.0.0.1", 80, True),
            ("127.0.0.1:8000", "127.0.0.1", 8000, True),
            ("127.0.0.1:8000", "127.0.0.1", 8001, False),
            ("127.0.0.1", "localhost", 80, False),
            ("Models.Internal", "models.internal.", 443, True),
            ("models.internal", "evil.models.internal", 443, False),
            ("[0:0::1]:9", "::1", 9, True),
        ],
    )
    def test_a_rule_opens_its_host_and_port(self, rule: str, host: str, port: int, named: bool) -> None:
        assert Destinations.parse([rule]).names(host, port) is named

    @pytest.mark.parametrize("rule", ["", "http://host", "host:0", "host:70000", "::1", "a b", "host:x"])
    def test_a_rule_that_is_none_is_refused(self, rule: str) -> None:
        with pytest.raises(ValueError, match="HOST"):
            HostRule.parse(rule)


class TestConnections:
    def test_a_named_host_is_called_under_its_own_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["127.0.0.1"])
        with (
            teacher_server() as teacher,
            httpx.Client(transport=CheckedTransport(Destinations.parse(["rebinding.example"]))) as client,
        ):
            url = httpx.URL(teacher.url).copy_with(host="rebinding.example")
            assert client.post(url, json=QUESTION).is_success

    def test_a_name_that_turns_inside_after_the_submit_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
        with teacher_server() as teacher:
            url = str(httpx.URL(teacher.url).copy_with(host="rebinding.example"))
            Destinations().check_url(url)
            with checked() as client, pytest.raises(InputError, match="not public"):
                client.post(url, json=QUESTION)
            assert teacher.authorizations == []

    def test_the_name_is_resolved_once_for_a_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
            asked.append(address[0])
            raise ConnectionRefusedError

        resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
        monkeypatch.setattr(socket, "create_connection", connect)
        with checked() as client, pytest.raises(httpx.ConnectError):
            client.post("http://rebinding.example/", json=QUESTION)
        assert asked == [PUBLIC]

    def test_a_proxy_is_no_way_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with checked() as client:
            for url in ("http://169.254.169.254/", "http://does-not-resolve.invalid/"):
                with pytest.raises(InputError):
                    client.post(url, json=QUESTION)
