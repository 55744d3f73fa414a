"""The address of an MQTT broker: ``mqtt://user@host:1883/prefix``, or ``mqtts://`` for an encrypted connection."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import without_secrets

PORTS = {"mqtt": 1883, "mqtts": 8883}
DEFAULT_PREFIX = "mask_detection"
LONGEST_PREFIX = 200  # characters
PASSWORD_VARIABLE = "MASK_MQTT_PASSWORD"  # noqa: S105 (of the environment)


class BrokerAddress(NamedTuple):
    """Where a broker is, and where in it our topics are.

    Attributes:
        host: its name or IP address.
        port: its TCP port.
        user: as whom to log in; empty for nobody.
        is_encrypted: whether to use TLS, and check the certificate.
        prefix: how all topics begin, without a slash at its end.
    """

    host: str
    port: int
    user: str
    is_encrypted: bool
    prefix: str

    def __str__(self) -> str:
        """The address as messages show it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.is_encrypted else 'mqtt'}://{host}:{self.port}/{self.prefix}"


def parse_broker_address(text: str) -> BrokerAddress:
    """Read an address.

    Raises:
        MaskDetectionError: it is none, or holds a password.
    """
    shown = f"--mqtt {without_secrets(text)}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # UnicodeError, too
        raise MaskDetectionError(f"{shown}: is no address; write mqtt://user@host:1883/prefix") from None
    if parts.scheme not in PORTS or not host or port == 0 or {*"?#"} & {*text}:
        raise MaskDetectionError(f"{shown}: is no broker's address; write mqtt://user@host:1883/prefix, or mqtts://…")
    if parts.password is not None:
        raise MaskDetectionError(
            f"{shown}: holds a password, which others can read; put it into {PASSWORD_VARIABLE} or --mqtt-password-file"
        )
    prefix = unquote(parts.path).strip("/") or DEFAULT_PREFIX
    if not re.fullmatch(r"[\w./ -]+", prefix) or len(prefix) > LONGEST_PREFIX or "//" in prefix:
        raise MaskDetectionError(f"{shown}: such topics cannot be; take letters, digits, _, -, . and / for the prefix")
    is_encrypted = parts.scheme == "mqtts"
    return BrokerAddress(host, port or PORTS[parts.scheme], unquote(parts.username or ""), is_encrypted, prefix)
