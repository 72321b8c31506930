import gc

gc.disable()  # until the calls of the front before are taken over: callers wait, and there is nothing to collect yet

import sys  # noqa: E402

from sip_front.process import main  # noqa: E402

sys.exit(main())
