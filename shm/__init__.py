"""Memory that processes share: layouts, segments, atomics, rings, doorbells, counters."""
