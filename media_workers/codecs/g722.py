"""G.722 at 64 kbit/s (mode 1): two ADPCM bands behind a mirror filter. Names and blocks are those of ITU-T G.722.

Everything is integers with the recommendation's own rounding, so that any other G.722 gets the same bits.
A ring of 8 kHz, left over from before a re-INVITE, carries the low band alone.
"""

import numpy as np
import numpy.typing as npt

from media_workers.codecs.lanes import LANES, TAPS, count_reached, filter_line, move_zeros
from shm.jit import njit

_HALF = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11]
QMF = np.array([tap for pair in zip(_HALF, reversed(_HALF), strict=True) for tap in pair], np.int32)
"""Table 11/G.722. It gains 4096 on each phase. (3.1, 4.4)"""
BAND = np.dtype(
    [
        ("s", "i4"),  # predicted signal
        ("sz", "i4"),  # its part from the zeros
        ("nb", "i4"),  # step size, logarithmic
        ("det", "i4"),  # and as it is
        ("a", "i4", 2),  # poles
        ("b", "i4", LANES),  # zeros: six, see lanes.py
        ("r", "i4", 2),  # reconstructed, the last two
        ("p", "i4", 2),  # partly reconstructed
        ("d", "i4", LANES),  # quantised differences: six
    ]
)
ADPCM = np.dtype([("low", BAND), ("high", BAND), ("line", "i4", TAPS)])

MAGNITUDE, LIMIT = 32767, 16383
FIRST_DET_LOW, FIRST_DET_HIGH = 32, 8
MAX_NB_LOW, MAX_NB_HIGH = 18432, 22528


def _table(text: str) -> npt.NDArray[np.int32]:
    return np.array(text.split(), np.int32)


Q6 = _table(
    "0 35 72 110 150 190 233 276 323 370 422 473 530 587 650 714 786 858 940 1023 1121 1219 1339 1458 1612 1765 1980 2195 2557 2919"
    " 0 0"  # unused, see lanes.py
)
ILN = _table("0 63 62 31 30 29 28 27 26 25 24 23 22 21 20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4")
ILP = _table("0 61 60 59 58 57 56 55 54 53 52 51 50 49 48 47 46 45 44 43 42 41 40 39 38 37 36 35 34 33 32")
QM2 = _table("-7408 -1616 7408 1616")
QM4 = _table("0 -20456 -12896 -8968 -6288 -4240 -2584 -1200 20456 12896 8968 6288 4240 2584 1200 0")
QM6 = _table(
    "-136 -136 -136 -136 -24808 -21904 -19008 -16704 -14984 -13512 -12280 -11192 -10232 -9360 -8576 -7856"
    " -7192 -6576 -6000 -5456 -4944 -4464 -4008 -3576 -3168 -2776 -2400 -2032 -1688 -1360 -1040 -728"
    " 24808 21904 19008 16704 14984 13512 12280 11192 10232 9360 8576 7856 7192 6576 6000 5456"
    " 4944 4464 4008 3576 3168 2776 2400 2032 1688 1360 1040 728 432 136 -432 -136"
)
WL4 = _table("-60 3042 1198 538 334 172 58 -30 3042 1198 538 334 172 58 -30 -60")
"""WL behind RL42: by the four bits of the code."""
WH2 = _table("798 -214 798 -214")
ILB = _table(
    "2048 2093 2139 2186 2233 2282 2332 2383 2435 2489 2543 2599 2656 2714 2774 2834"
    " 2896 2960 3025 3091 3158 3228 3298 3371 3444 3520 3597 3676 3756 3838 3922 4008"
)


def fresh() -> np.void:
    """The state at the beginning of a stream."""
    adpcm = np.zeros(1, ADPCM)[0]
    adpcm["low"]["det"], adpcm["high"]["det"] = FIRST_DET_LOW, FIRST_DET_HIGH
    return adpcm


@njit
def decode(adpcm, payload, start, size, pcm_out, is_wide):
    """`size` octets are twice as many samples at 16 kHz, or as many at 8; returns how many were written."""
    low, high, line = adpcm["low"], adpcm["high"], adpcm["line"]
    octets = min(size, pcm_out.size // 2 if is_wide else pcm_out.size)
    for n in range(octets):
        code = np.int64(payload[start + n])
        il, ih = code & 0x3F, code >> 6
        rl = _limit15(low["s"] + (low["det"] * QM6[il] >> 15))
        _adapt_low(low, il >> 2)
        if is_wide:
            dh = high["det"] * QM2[ih] >> 15
            rh = _limit15(dh + high["s"])
            _adapt_high(high, ih, dh)
            first, second = _merge(line, rl, rh)
            pcm_out[2 * n] = first
            pcm_out[2 * n + 1] = second
        else:
            pcm_out[n] = _limit16(2 * rl)
    return 2 * octets if is_wide else octets


@njit
def encode(adpcm, pcm, samples, packet, start, is_wide):
    """Two samples at 16 kHz, or one at 8, are an octet; returns how many were written."""
    low, high, line = adpcm["low"], adpcm["high"], adpcm["line"]
    octets = samples // 2 if is_wide else samples
    for n in range(octets):
        if is_wide:
            xl, xh = _split(line, pcm[2 * n], pcm[2 * n + 1])
        else:
            xl, xh = pcm[n] >> 1, 0
        il = _quantise_low(_limit16(xl - low["s"]), low["det"])
        _adapt_low(low, il >> 2)
        eh = _limit16(xh - high["s"])
        is_large = (eh if eh >= 0 else -1 - eh) >= 564 * high["det"] >> 12
        ih = (0 if is_large else 1) + (0 if eh < 0 else 2)
        _adapt_high(high, ih, high["det"] * QM2[ih] >> 15)
        packet[start + n] = ih << 6 | il
    return octets


@njit
def _limit15(value):
    return min(max(value, -LIMIT - 1), LIMIT)


@njit
def _quantise_low(el, det):
    """QUANTL: the first of thirty decision levels that the difference lies below."""
    interval = count_reached(Q6, det, el if el >= 0 else -1 - el)
    return ILN[interval] if el < 0 else ILP[interval]


@njit
def _adapt_low(band, ril):
    """INVQAL, LOGSCL, SCALEL: what both ends conclude from the four upper bits of a code."""
    d = band["det"] * QM4[ril] >> 15
    nb = min(max((band["nb"] * 127 >> 7) + WL4[ril], 0), MAX_NB_LOW)
    band["nb"] = nb
    band["det"] = _scale(nb, 8)
    _predict(band, d)


@njit
def _adapt_high(band, ih, d):
    nb = min(max((band["nb"] * 127 >> 7) + WH2[ih], 0), MAX_NB_HIGH)
    band["nb"] = nb
    band["det"] = _scale(nb, 10)
    _predict(band, d)


@njit
def _scale(nb, bits):
    shift, value = bits - (nb >> 11), ILB[nb >> 6 & 31]
    return (value << -shift if shift < 0 else value >> shift) << 2


@njit
def _predict(band, d0):
    """RECONS to PREDIC (block 4): move the poles and zeros by what was quantised, and predict the next sample."""
    r, p, a, b, d = band["r"], band["p"], band["a"], band["b"], band["d"]
    r0, p0 = _limit16(band["s"] + d0), _limit16(band["sz"] + d0)
    a1, a2 = np.int64(a[0]), np.int64(a[1])
    is_same1, is_same2 = p0 >> 15 == p[0] >> 15, p0 >> 15 == p[1] >> 15

    moved = _limit16(a1 << 2)  # UPPOL2
    step = min(-moved if is_same1 else moved, MAGNITUDE) >> 7
    ap2 = min(max(step + (128 if is_same2 else -128) + (a2 * 32512 >> 15), -12288), 12288)
    bound = _limit16(15360 - ap2)  # UPPOL1
    ap1 = min(max(_limit16((192 if is_same1 else -192) + (a1 * 32640 >> 15)), -bound), bound)

    sz = _limit16(move_zeros(b, d, d0))  # UPZERO, DELAYA, FILTEZ
    sp = _limit16((ap1 * _limit16(r0 + r0) >> 15) + (ap2 * _limit16(2 * np.int64(r[0])) >> 15))  # FILTEP
    r[1] = r[0]
    r[0] = r0
    p[1] = p[0]
    p[0] = p0
    a[0] = ap1
    a[1] = ap2
    band["sz"] = sz
    band["s"] = _limit16(sp + sz)


@njit
def _limit16(value):
    return min(max(value, -32768), 32767)


@njit
def _split(line, first, second):
    """Two samples of 16 kHz: one of the low band and one of the high, of 15 bits."""
    odd, even = filter_line(line, QMF, first, second)
    return (even + odd) >> 14, (even - odd) >> 14


@njit
def _merge(line, low, high):
    """One sample of each band: two samples of 16 kHz."""
    odd, even = filter_line(line, QMF, low + high, low - high)
    return _limit16(even >> 11), _limit16(odd >> 11)
