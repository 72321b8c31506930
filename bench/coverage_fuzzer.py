"""atheris chooses the messages of hostile_input.py by what they reach: `python -m bench.coverage_fuzzer FOLDER -runs=1000000`.

atheris is no dependency of ours: `pip install atheris` where this is to run. It keeps in FOLDER what reached something new, which
`python -m bench hostile_input --corpus FOLDER` starts from. Whatever raises ends it, with the message in a file crash-*.
"""

import logging
import pathlib
import sys

import atheris

with atheris.instrument_imports(include=["sip_front", "control_plane.dtmf"]):
    from bench.hostile_input import TOKENS, Target, seeds


def main() -> None:
    logging.disable(logging.CRITICAL)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(octets)
    words = folder.parent / f"{folder.name}.words"
    words.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in token) + '"\n' for token in TOKENS))
    target = Target()
    atheris.Setup([*sys.argv, f"-dict={words}", "-max_len=4096"], target.take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
