"""A voice and an ear that need no network: espeak-ng speaks, pocketsphinx recognises phrases out of a closed list.

Each of the two runs in a process of its own (`python -m ai_bridge.offline_speech`), started when first wanted and
anew when it died. espeak-ng is GPL-3 and never loaded here; pocketsphinx computes for tenths of a second at a time.
Neither is meant to be beautiful: they make `bellframe demo` work on a machine without accounts and keys.
"""

from ai_bridge.offline_speech.helper import SpeechFailed
from ai_bridge.offline_speech.recognition import Recognizer
from ai_bridge.offline_speech.synthesis import Voice

__all__ = ["Recognizer", "SpeechFailed", "Voice"]
