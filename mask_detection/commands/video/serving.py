"""The options of the live page and of MQTT, and what they are turned into."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mask_detection.commands.video.options import is_served, line_in_file
from mask_detection.inference.classes import alert_classes
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.commands.video.sinks import Receivers
    from mask_detection.serving.mqtt.address import BrokerAddress
    from mask_detection.serving.pictures import Pictures
    from mask_detection.serving.state import LiveState, Source

REQUIREMENTS = defaults.PROJECT_FOLDER / "requirements-serve.txt"
LOCALHOST = "127.0.0.1"
DETAILS = {
    "serve": ("serve_token_file", "serve_crops"),
    "mqtt": ("mqtt_password_file", "mqtt_discovery", "mqtt_snapshots"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add where a run can be seen, and who may look."""
    group = parser.add_argument_group(
        "live", "see the run from elsewhere; needs `pip install -r requirements-serve.txt`"
    )
    group.add_argument(
        "--serve",
        type=listening_address,
        metavar="HOST:PORT",
        help="serve a live page at this IP address: 127.0.0.1:8080 for this machine alone, 0.0.0.0:8080 for all",
    )
    group.add_argument(
        "--serve-token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that viewers have to enter, made on first use; needed but for 127.0.0.1",
    )
    group.add_argument("--serve-crops", action="store_true", help="show the face of each alarm on the page")
    group.add_argument(
        "--mqtt",
        type=broker_address,
        metavar="URL",
        help="publish to a broker: mqtt://user@host:1883/prefix, or mqtts://",
    )
    group.add_argument(
        "--mqtt-password-file",
        metavar="FILE",
        help="text file with the password in one line (default: the environment variable MASK_MQTT_PASSWORD)",
    )
    group.add_argument("--mqtt-discovery", action="store_true", help="announce the sources to Home Assistant")
    group.add_argument("--mqtt-snapshots", action="store_true", help="publish the face of each alarm")


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse details without what they belong to, and a page that anybody could see."""
    for main, details in DETAILS.items():
        given = [name for name in details if getattr(args, name)]
        if given and getattr(args, main) is None:
            _refuse(parser, given[0], f"needs --{main}")
    if args.serve and not args.serve_token_file and not ipaddress.ip_address(args.serve[0]).is_loopback:
        _refuse(parser, "serve", "others can reach this address; add --serve-token-file FILE, made on first use")


def _refuse(parser: argparse.ArgumentParser, name: str, fault: str) -> NoReturn:
    parser.error(f"--{name.replace('_', '-')}: {fault}")


def listening_address(text: str) -> tuple[str, int]:
    """An argument's IP address and port, ``127.0.0.1:8080`` or ``[::1]:8080``."""
    host, _, port = text.rpartition(":")
    host = LOCALHOST if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isdecimal() and len(port) <= 5 else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no IP address with a port, such as 127.0.0.1:8080 or [::1]:8080")
    return host, number


def broker_address(text: str) -> BrokerAddress:
    """An argument's address of an MQTT broker."""
    from mask_detection.serving.mqtt.address import parse_broker_address

    return parse_broker_address(text)


def open_serving(
    args: argparse.Namespace,
    sources: Sequence[Source],
    class_names: Sequence[str],
    receivers: Receivers,
    stack: ExitStack,
) -> None:
    """Start what the arguments ask for, and let it take what a run gives; the stack ends it.

    Raises:
        MaskDetectionError: a library is missing, nothing can listen there, or a file is not as it should be.
    """
    if not is_served(args):
        return
    try:
        state = _open(args, sources, class_names, receivers, stack)
    except ModuleNotFoundError as error:
        option = "--serve" if args.serve else "--mqtt"
        raise MaskDetectionError(f"{option}: {error}; run `pip install -r {REQUIREMENTS}`") from None
    receivers.detections.append(state)
    receivers.rows.append(state.add_statistics)
    if args.alert_class or alert_classes(class_names):  # otherwise there is nothing to alarm of
        receivers.alarms.append(state.add_alarm)


def _open(
    args: argparse.Namespace,
    sources: Sequence[Source],
    class_names: Sequence[str],
    receivers: Receivers,
    stack: ExitStack,
) -> LiveState:
    from mask_detection.inference.drawing import FaceBlur
    from mask_detection.serving.state import LiveState

    def conceal(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return FaceBlur().blurred(image, boxes, 0.0)

    keeps_crops = args.serve_crops or args.mqtt_snapshots
    state = LiveState(sources, class_names, keeps_crops, conceal if args.blur_faces else None)
    if args.serve:
        receivers.frames.append(_open_page(args, state, stack))
    if args.mqtt:
        _open_mqtt(args, state, stack)
    stack.callback(state.close)
    return state


def _open_page(args: argparse.Namespace, state: LiveState, stack: ExitStack) -> Pictures:
    from mask_detection.serving.page.server import live_page
    from mask_detection.serving.page.token_file import read_token
    from mask_detection.serving.pictures import Pictures

    token = read_token(args.serve_token_file) if args.serve_token_file else None
    pictures = Pictures()
    stack.enter_context(live_page(args.serve, token, state, pictures, shows_crops=args.serve_crops))
    return pictures


def _open_mqtt(args: argparse.Namespace, state: LiveState, stack: ExitStack) -> None:
    from mask_detection.serving.mqtt.address import PASSWORD_VARIABLE
    from mask_detection.serving.mqtt.reports import mqtt_reports

    password = os.environ.get(PASSWORD_VARIABLE) or None
    if args.mqtt_password_file:
        password = line_in_file(args.mqtt_password_file, "--mqtt-password-file")
        if not args.mqtt.user:
            raise MaskDetectionError("--mqtt-password-file: is whose? name the user: mqtt://user@host:1883/prefix")
    stack.enter_context(mqtt_reports(state, args.mqtt, password, args.mqtt_discovery, args.mqtt_snapshots))
