"""The agents that come along, named in text so that nothing is loaded before a call wants it."""

BUILT_IN = {
    "echo": "ai_bridge.agents.echo:Echo",
    "echo_batch": "ai_bridge.agents.echo:EchoBatch",
    "probe": "ai_bridge.agents.probe:Probe",
    "menu": "ai_bridge.agents.menu:Menu",
    "voicemail": "ai_bridge.agents.voicemail:Voicemail",
    "diagnose": "ai_bridge.agents.diagnose:Diagnose",
    "wav": "ai_bridge.agents.wav:Wav",
}
