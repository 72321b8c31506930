"""The SIP process: what faces the far ends. It imports `control_plane` only, and never numba."""
