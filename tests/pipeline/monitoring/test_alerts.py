"""Alerts against local sinks: what is sent, how often, and that no channel costs the night."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from pipeline.monitoring.alerts import DO, NIGHT_FAILED, NIGHT_LATE, TOLD, Alert, of_night, tell
from pipeline.monitoring.summary import ALARMING, DRIFT, VOLUME
from pipeline.settings import AlertSettings, Environment, load_settings, read_environment

DAY = date(2018, 1, 1)
DRIFTS = Alert(DRIFT, "spend: far from the training")
SMALL = Alert(VOLUME, "products: rows fell to 1")


class Sink:
    """A local server that notes what it is sent; the webhook answers `status`."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.status = 200


@pytest.fixture
def webhook() -> Iterator[tuple[Sink, Environment]]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sink.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(sink.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/services/secret-part"
        yield sink, Environment.model_construct(alert_webhook=SecretStr(address), smtp_password=None)
        server.shutdown()


@pytest.fixture
def mail() -> Iterator[tuple[Sink, AlertSettings]]:
    sink = Sink()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            while line := self.rfile.readline().strip():
                if line.upper() == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (text := self.rfile.readline()) != b".\r\n":
                        lines.append(text.decode())
                    sink.got.append("".join(lines))
                self.wfile.write(b"221 bye\r\n" if line.upper() == b"QUIT" else b"250 ok\r\n")
                if line.upper() == b"QUIT":
                    return

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        yield (
            sink,
            AlertSettings(
                mail_to=("on.call@bank.example",), smtp_host="127.0.0.1", smtp_port=port, smtp_security="off"
            ),
        )
        server.shutdown()


SILENT = Environment.model_construct(alert_webhook=None, smtp_password=None)


def night(
    alerts: list[Alert], home: Path, environment: Environment = SILENT, settings: AlertSettings | None = None,
    number: int = 0, published: bool = True,
) -> list[str]:  # fmt: skip
    said: list[str] = []
    day = DAY + timedelta(days=number)
    tell(alerts, day, published, home, settings or AlertSettings(), environment, said.append)
    return said


def test_a_cause_is_told_once_by_each_channel_with_what_to_do(
    tmp_path: Path, webhook: tuple[Sink, Environment], mail: tuple[Sink, AlertSettings]
) -> None:
    (hook, environment), (box, settings) = webhook, mail
    for number in range(7):
        said = night([DRIFTS, SMALL], tmp_path, environment, settings, number)
        assert len(said) == (2 if number == 0 else 0)
    assert len(hook.got) == len(box.got) == 2, "one message a cause"
    assert hook.got[0].startswith(
        "ple, night of 2018-01-01: drift\nspend: far from the training\n\nWhat to do: look at"
    )
    assert "Subject: ple, night of 2018-01-01: delivery" in box.got[1]
    assert "To: on.call@bank.example" in box.got[1]
    assert "What to do: compare the delivery" in box.got[1]
    night([DRIFTS], tmp_path, environment, settings, 7)
    assert len(hook.got) == 3, "what lasts is told again after a week"


def test_a_cause_that_was_over_is_told_again(tmp_path: Path) -> None:
    assert len(night([DRIFTS], tmp_path)) == 1
    assert night([DRIFTS], tmp_path, number=1) == []
    assert len(night([Alert(NIGHT_FAILED, "no disk")], tmp_path, number=2, published=False)) == 1
    assert night([DRIFTS], tmp_path, number=3) == [], "a night that failed does not end what it could not see"
    assert night([], tmp_path, number=4) == []
    assert len(night([DRIFTS], tmp_path, number=5)) == 1


def test_a_channel_that_fails_is_tried_again_and_never_shows_its_secret(
    tmp_path: Path, webhook: tuple[Sink, Environment]
) -> None:
    hook, environment = webhook
    hook.status = 500
    said = night([DRIFTS], tmp_path, environment)
    assert said[1] == "the alert could not be sent to the webhook: it answered 500; the next night tries again"
    assert "secret-part" not in " ".join(said) + repr(environment)
    hook.status = 200
    night([DRIFTS], tmp_path, environment, number=1)
    assert len(hook.got) == 2
    nowhere = AlertSettings(mail_to=("a@b.example",), smtp_host="127.0.0.1", smtp_port=1, smtp_security="off")
    assert "by e-mail through 127.0.0.1:1: ConnectionRefusedError" in night([SMALL], tmp_path, SILENT, nowhere)[1]
    wrong = Environment.model_construct(alert_webhook=SecretStr("file:///etc/passwd"), smtp_password=None)
    assert "no http(s) address" in night([SMALL], tmp_path, wrong)[1]


def test_a_damaged_note_is_as_none(tmp_path: Path) -> None:
    for content in ("", "[]", '{"drift": 3}', '{"drift": "soon"}'):
        (tmp_path / TOLD).write_text(content)
        assert len(night([DRIFTS], tmp_path)) == 1, content


def test_every_alarming_fact_of_a_summary_is_an_alert_that_says_what_to_do() -> None:
    facts = {"rows scored": "7", **dict.fromkeys(ALARMING, "why")}
    assert [alert.cause for alert in of_night({"facts": facts})] == [*ALARMING]
    assert set(DO) == {*ALARMING, NIGHT_FAILED, NIGHT_LATE}


def test_settings_that_would_leak_or_send_nowhere_are_refused() -> None:
    with pytest.raises(ValidationError, match="in the clear"):
        AlertSettings(smtp_user="me", smtp_security="off")
    with pytest.raises(ValidationError, match="no e-mail address"):
        AlertSettings(mail_to=("a@b.example\nBcc: c@d.example",))
    assert AlertSettings.model_validate({"smtp_security": False}).smtp_security == "off"


def test_secrets_are_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLE_SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("PLE_ALERT_WEBHOOK", "https://hooks.example/hunter2")
    assert "hunter2" not in load_settings(home=tmp_path).model_dump_json() + repr(read_environment())
    password = read_environment().smtp_password
    assert password is not None
    assert password.get_secret_value() == "hunter2"
