"""The commands beside the three scripts: ``python -m mask_detection COMMAND``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from mask_detection.commands import options

COMMANDS = {
    "download": "fetch a face detector or the classic data set, verified by hash",
    "prepare": "make a clean data set: small JPEG files, copies and damaged files listed",
    "crop-faces": "cut the faces out of photos, by annotations or a face detector",
    "evaluate": "measure accuracy on annotated photos or face crops",
    "export": "write a model as .tflite files for other devices",
    "synthesize": "put masks on bare faces, correctly and wrongly, for training",
    "train-face-detector": "train the built-in face detector",
    "web": "put the page for browsers and phones together, and serve it",
    "archive": "detect in archives of any size, on all cores or on a Ray cluster",
    "report": "draw the counts of --statistics by hour and day",
    "doctor": "check this machine and say what to do about what does not work",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit status."""
    parser = options.argument_parser(
        "\n".join([f"{__doc__}\n", *(f"  {name:<20}{summary}" for name, summary in COMMANDS.items())])
    )
    parser.prog = "python -m mask_detection"
    parser.add_argument(
        "command",
        type=lambda name: name.replace("_", "-"),
        choices=COMMANDS,
        metavar="COMMAND",
        help="COMMAND --help tells more",
    )
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        parser.print_help()
        return 0
    name = parser.parse_args(words[:1]).command
    if name == "prepare" and "--crops" in words:  # the older spelling
        name = "crop-faces"
        words.remove("--crops")
    command = import_module(f"mask_detection.commands.{name.replace('-', '_')}")
    if argv is None:
        sys.argv[1:] = words[1:]
        return command.main()  # as a script, which ends afterwards
    return command.main(words[1:])


if __name__ == "__main__":
    sys.exit(main())
