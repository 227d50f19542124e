"""Alerts: what a person must hear of a night, one message a cause, by log, webhook and e-mail.

A cause is told on the first night that has it and again after `repeat_after_days` while it lasts. What was told stands
in one file of the home; a night that was published without the cause forgets it. No channel that fails costs a night:
its cause stays untold, so the next night tries again.
"""

import json
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from email.message import EmailMessage
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pipeline.monitoring.summary import ALARMING, DRIFT, MISSING_SOURCES, TRAINING_FAILED, VOLUME
from pipeline.resources.files import publish_json
from pipeline.settings import AlertSettings, Environment

TOLD = "alerts.json"
"""In the home: cause → as-of date of the night that told it last."""
NIGHT_FAILED, NIGHT_LATE = "night failed", "night late"
SECONDS = 10.0
DO = {
    NIGHT_FAILED: "repair what the reason names and run `ple nightly` again",
    NIGHT_LATE: "look at `ple status`; start `ple ui` where no daemon lives, or run `ple nightly`",
    TRAINING_FAILED: "the standing champion scores; look at the reason, the next night trains again",
    MISSING_SOURCES: "deliver the source and run the night again; until then its tasks are withheld",
    VOLUME: "compare the delivery with the last ones (asset tables/…); deliver it whole if it is not",
    DRIFT: "look at the asset `drift`: repair the source, or accept the change in the settings and train",
}
"""Cause → what to do; docs/operating.md says more."""


@dataclass(frozen=True)
class Alert:
    """One cause, in words."""

    cause: str
    words: str

    @property
    def text(self) -> str:
        """The body of the message."""
        return f"{self.words}\n\nWhat to do: {DO[self.cause]} (docs/operating.md)."


def of_night(summary: Mapping[str, Any]) -> list[Alert]:
    """The alerts of a night that was published, from its summary."""
    return [Alert(name, summary["facts"][name]) for name in ALARMING if name in summary["facts"]]


def tell(
    alerts: Sequence[Alert],
    as_of: date,
    published: bool,
    home: Path,
    settings: AlertSettings,
    environment: Environment,
    log: Callable[[str], None],
) -> None:
    """Send the alerts of a night that are news.

    Args:
        alerts: of the night.
        as_of: its date.
        published: whether it was published: then causes that it does not have are over.
        home: the folder of the deployment.
        settings: where to send to.
        environment: with the secrets.
        log: gets one line an alert, and one for each channel that fails.
    """
    file = home / TOLD
    told = _read(file)
    kept = {cause: day for cause, day in told.items() if not published or cause in {a.cause for a in alerts}}
    for alert in alerts:
        last = kept.get(alert.cause)
        if last is not None and abs((as_of - date.fromisoformat(last)).days) < settings.repeat_after_days:
            continue
        log(f"alert, {alert.cause}: {alert.words}")
        failures = [*_by_webhook(alert, as_of, environment), *_by_mail(alert, as_of, settings, environment)]
        for failure in failures:
            log(f"the alert could not be sent {failure}; the next night tries again")
        if not failures:
            kept[alert.cause] = as_of.isoformat()
    if kept != told:
        publish_json(kept, file)


def _read(file: Path) -> dict[str, str]:
    """What was told. A file that cannot be read counts as none: rather twice than never."""
    try:
        found = json.loads(file.read_text())
        return {str(cause): date.fromisoformat(day).isoformat() for cause, day in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _by_webhook(alert: Alert, as_of: date, environment: Environment) -> list[str]:
    """POST {"text": …}, as Slack, Mattermost and Teams take it. The address is a secret: no failure shows it."""
    if environment.alert_webhook is None:
        return []
    address = environment.alert_webhook.get_secret_value()
    if not address.startswith(("https://", "http://")):
        return ["to the webhook: PLE_ALERT_WEBHOOK is no http(s) address"]
    body = json.dumps({"text": f"{_subject(alert, as_of)}\n{alert.text}"}).encode()
    try:
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS):
            return []
    except urllib.error.HTTPError as error:
        return [f"to the webhook: it answered {error.code}"]
    except (OSError, ValueError, HTTPException) as error:
        return [f"to the webhook: {type(error).__name__}"]


def _by_mail(alert: Alert, as_of: date, settings: AlertSettings, environment: Environment) -> list[str]:
    if not settings.mail_to:
        return []
    message = EmailMessage()
    message["Subject"], message["From"] = _subject(alert, as_of), settings.mail_from
    message["To"] = ", ".join(settings.mail_to)
    message.set_content(alert.text)
    connect = smtplib.SMTP_SSL if settings.smtp_security == "tls" else smtplib.SMTP
    try:
        with connect(settings.smtp_host, settings.smtp_port, timeout=SECONDS) as server:
            if settings.smtp_security == "starttls":
                server.starttls()
            if settings.smtp_user and environment.smtp_password is not None:
                server.login(settings.smtp_user, environment.smtp_password.get_secret_value())
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        return [f"by e-mail through {settings.smtp_host}:{settings.smtp_port}: {type(error).__name__}"]
    return []


def _subject(alert: Alert, as_of: date) -> str:
    return f"ple, night of {as_of}: {alert.cause}"
