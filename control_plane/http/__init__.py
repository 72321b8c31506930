"""The HTTP API, the metrics and the call records: a process of its own, never in the way of a call."""
