"""A soak: callers with a tone of their own each, over a bad network, while our processes are killed. Does anything leak, end, or cross?"""
