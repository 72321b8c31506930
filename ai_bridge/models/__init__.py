"""Speech-to-speech models: hearing, thinking and speaking behind one WebSocket. One row and one file each.

A route names one by its address, `agent = "openai+wss://api.openai.com/v1/realtime?model=gpt-realtime"`: the part before
the plus is a name of this table. Rows name their classes as text, so that nothing is loaded before a call wants it.
"""

from control_plane.credentials import Credentials

MODELS = {
    # name     class
    "openai": "ai_bridge.models.openai:OpenAI",
    "gemini": "ai_bridge.models.gemini:Gemini",
    "ultravox": "ai_bridge.models.ultravox:Ultravox",
    "elevenlabs": "ai_bridge.models.elevenlabs:ElevenLabs",
    "deepgram": "ai_bridge.models.deepgram:Deepgram",
}

credentials = Credentials()
"""Their API keys, by name. Set when the process starts, from its configuration."""
