"""python -m ai_bridge.offline_speech say TEXT OUT.wav | hear IN.wav PHRASE... | synthesis | recognition

The last two are the helper processes: they talk over a pipe (helper.py), not with people.
"""

import argparse
import pathlib
import sys
import wave

import numpy as np

from ai_bridge.offline_speech import helper, rate, recognition, synthesis


def say(text: str, out: pathlib.Path, rate_hz: int, words_per_minute: int) -> None:
    espeak = synthesis.Espeak()
    pcm = espeak.say(text, synthesis.VOICE, words_per_minute)
    if rate_hz:
        pcm = rate.to_pcm16(rate.convert(pcm.astype(np.float64), espeak.rate_hz, rate_hz))
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz or espeak.rate_hz)
        file.writeframes(pcm.tobytes())


def hear(recording: pathlib.Path, phrases: tuple[str, ...]) -> str:
    with wave.open(str(recording), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)[:: file.getnchannels()].astype(np.float64)
        found = recognition.Sphinx().recognize(phrases, samples, file.getframerate())
    return f"{found[0]} ({found[1]:.1f})" if found else "none of them"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ai_bridge.offline_speech", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    one = jobs.add_parser("say", help="text into a WAV file")
    one.add_argument("text")
    one.add_argument("out", type=pathlib.Path)
    one.add_argument("--rate", type=int, default=0, help="Hz (default: espeak-ng's own, 22050)")
    one.add_argument("--words-per-minute", type=int, default=synthesis.WORDS_PER_MINUTE)
    one = jobs.add_parser("hear", help="which of these phrases does a WAV file hold")
    one.add_argument("recording", type=pathlib.Path)
    one.add_argument("phrases", nargs="+")
    jobs.add_parser("synthesis")
    jobs.add_parser("recognition")
    arguments = parser.parse_args()
    try:
        if arguments.job == "say":
            say(arguments.text, arguments.out, arguments.rate, arguments.words_per_minute)
        elif arguments.job == "hear":
            print(hear(arguments.recording, tuple(arguments.phrases)))
        elif arguments.job == "synthesis":
            helper.serve(synthesis.Espeak().handle)
        else:
            helper.serve(recognition.Sphinx().handle)
    except RuntimeError as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
