"""libopus as we find it: room for its states, and no state that points to where it lies."""

import ctypes
import subprocess
import sys

import pytest

from control_plane import opus_library
from media_workers import libopus


@pytest.mark.skipif(not libopus.IS_THERE, reason="libopus is not installed")
def test_there_is_room_for_its_states() -> None:
    library = ctypes.CDLL(opus_library.find())
    assert 0 < library.opus_decoder_get_size(1) <= libopus.DECODER_BYTES
    assert 0 < library.opus_encoder_get_size(1) <= libopus.ENCODER_BYTES


@pytest.mark.skipif(not libopus.IS_THERE, reason="libopus is not installed")
def test_a_state_works_wherever_it_is_copied_to() -> None:
    library = ctypes.CDLL(opus_library.find())
    first, second = (ctypes.create_string_buffer(libopus.ENCODER_BYTES) for _ in range(2))
    libopus.start_encoder(ctypes.addressof(first), 16_000)
    pcm, one, two = (ctypes.c_int16 * 320)(*range(0, 32_000, 100)), ctypes.create_string_buffer(500), ctypes.create_string_buffer(500)
    for _ in range(5):
        library.opus_encode(first, pcm, 320, one, 500)
    ctypes.memmove(second, first, libopus.ENCODER_BYTES)
    sizes = [library.opus_encode(state, pcm, 320, packet, 500) for state, packet in ((first, one), (second, two))]
    assert sizes[0] == sizes[1] > 10 and one.raw == two.raw


def test_without_it_the_worker_starts_and_its_functions_give_nothing() -> None:
    script = (
        "from control_plane import opus_library; opus_library.find = lambda: ''\n"
        "import ctypes, numpy as np; from media_workers import libopus\n"
        "room = np.zeros(9_000, np.int64); libopus.start_decoder(room.ctypes.data, 16_000)\n"
        "from media_workers.codecs import opus\n"
        "print(libopus.IS_THERE, libopus.TOKEN, opus.decode(np.zeros(1, opus.OPUS)[0], np.zeros(9, np.uint8), 0, 9, np.zeros(9, np.int16)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (0, ["False", "0", "0"]), found.stderr
