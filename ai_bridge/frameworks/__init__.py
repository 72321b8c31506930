"""Pipelines of other frameworks as agents, in this process and on the rings: one file each, loaded by whoever wants it.

They need their framework beside us: `pip install 'bellframe[pipecat]'` or `'bellframe[livekit]'`.
"""
