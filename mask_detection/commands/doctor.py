"""Find out what works on this machine and what to do about the rest: what a bug report should contain.

python -m mask_detection doctor
python -m mask_detection doctor > doctor.txt                                # to attach to a bug report
python -m mask_detection doctor --face detectors --model my_model.h5       # the options that the scripts were given

Prints versions, the face detectors' files, what the model's file holds, cameras, display and GPU, and at the end one
line for each thing that will not work, with its remedy. Libraries may be missing or broken. It needs no network and
changes nothing; the cameras 0 to 3 are opened for a moment. Exit status: 0 everything works, 1 something will not work
(a machine without camera or display counts too), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from mask_detection.commands import checks, cli, options
from mask_detection.commands.checks import Finding
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.text import one_line

NAME_WIDTH = 14  # characters, at least


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection doctor"
    options.add_face_folder_option(parser)
    options.add_model_option(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    sections = {
        "versions": checks.versions(),
        "face detectors": checks.face_detectors(args.face),
        "model": checks.model(args.model),
        "cameras": checks.cameras(),
        "display": checks.display(),
        "TensorFlow": checks.tensorflow(),
    }
    faults: list[str] = []
    for title, check in sections.items():
        print(title)
        findings = list(guarded(title, check))
        width = max(NAME_WIDTH, *(len(finding.name) for finding in findings))
        for finding in findings:
            print(one_line(f"  {finding.name:<{width}}  {finding.value}"))
        faults += [finding.fault for finding in findings if finding.fault]
    print("will not work" if faults else "everything works")
    for fault in dict.fromkeys(faults):  # what is missing may have stopped several checks
        print(one_line(f"  {fault}"))
    return cli.EXIT_SOME_FAILED if faults else cli.EXIT_DONE


def guarded(title: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """What a check finds; if something breaks it off, that is its last finding and the other checks go on."""
    try:
        yield from check
    except MaskDetectionError as error:
        yield Finding("", "not usable, see the end", str(error))
    except Exception as error:  # broken libraries raise anything
        yield Finding("", "cannot be checked, see the end", checks.fault_of_loading(title, error))
